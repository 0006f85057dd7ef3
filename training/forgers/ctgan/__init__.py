"""CT-GAN (Mirsky et al., 2019), written anew from its description: cubes, networks, training and the forger."""
