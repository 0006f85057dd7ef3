"""A 2-D CycleGAN that learns to take impulse and Gaussian noise off CT slices (Section 4.1 of the paper)."""
