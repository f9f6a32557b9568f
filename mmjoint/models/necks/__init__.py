from .mutual_feature_mixer import MutualFeatureMixer, shuffle_index

__all__ = ['MutualFeatureMixer', 'shuffle_index']
