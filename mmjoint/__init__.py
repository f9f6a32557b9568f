"""mmjoint: joint, uncertainty-aware and label-efficient learning for medical images."""

__version__ = '0.1.0'
