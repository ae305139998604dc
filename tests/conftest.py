"""What all tests share."""

from hypothesis import settings

# A busy machine is no failure, and the same commit has the same verdict everywhere: chance looks
# for new counterexamples in `make scale`.
settings.register_profile("gate", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("gate")
