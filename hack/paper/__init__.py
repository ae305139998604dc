"""The evaluation and the figures of the GUIDE paper, made anew by this simulator: `make paper`."""
