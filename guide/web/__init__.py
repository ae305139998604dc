"""The web page and its JSON API: one more face of the engine, without a build step and without
anything loaded from elsewhere.
"""
