"""Evidence that needs no training: traces of tampering that can be shown and said in one sentence.

Each file is one family of tests; ``finding.py`` is what they answer with.
"""
