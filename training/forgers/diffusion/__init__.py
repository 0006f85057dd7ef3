"""A small denoising diffusion model of lung that in-paints sites; the generator that no detector here trains on."""
