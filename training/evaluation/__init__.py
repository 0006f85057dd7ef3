"""How well something finds forgeries: measures and pictures that know no model, only labels, scores and places.

``slices``, ``scans``, ``froc``, ``calibration`` and ``voxels`` each hold one family of measures, ``counts`` and
``resampling`` what they share, ``plots`` the pictures. A forged slice, site or voxel is always the positive. Input that
cannot be measured (no forged or no untouched example, scores that are not numbers, lengths that differ) raises
``InputError``.
"""
