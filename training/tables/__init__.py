"""The paper's tables 1 to 4 and its CycleGAN result, once with its leaking split and once split by patient.

``sets`` and ``pairs`` say which slices, ``methods`` which detector; ``cells`` trains and judges one detector on one set
with one split, ``scans`` judges whole scans; ``study`` knows what is done, ``report`` writes it into RESULTS.md.
"""
