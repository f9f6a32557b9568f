from .conv_critic import ConvCritic

__all__ = ['ConvCritic']
