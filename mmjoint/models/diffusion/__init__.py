from .denoising_stem import DenoisingStem
from .gaussian_diffusion import GaussianDiffusion
from .random_source import RandomSource

__all__ = ['DenoisingStem', 'GaussianDiffusion', 'RandomSource']
