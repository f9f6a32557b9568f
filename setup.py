"""Packaging of mmjoint."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
VERSION = re.search(
    r"__version__ = '([^']+)'", (ROOT / 'mmjoint' / '__init__.py').read_text(encoding='utf-8')
).group(1)

setup(
    name='mmjoint',
    version=VERSION,
    description='Joint, uncertainty-aware and label-efficient learning for medical images',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['mmjoint', 'mmjoint.*']),
    install_requires=[
        'torch>=2.4',
        'torchvision>=0.19',
        'onedl-mmengine>=0.10.12',
        'onedl-mmcv>=2.3.6',
        'onedl-mmsegmentation>=1.4.2',
        'onedl-mmpretrain>=1.3.6',
        'numpy>=1.26',
        'opencv-python>=4.9',
        'pillow>=9.1',
        'tensorboard>=2.16',
        'scipy>=1.12',
        'matplotlib>=3.8',
        'pandas>=2.2',
        'openpyxl>=3.1',
        'nibabel>=5.2',
        'SimpleITK>=2.3',
        'h5py>=3.10',
        'monai>=1.4',
        'torchmetrics>=1.4',
        'scikit-learn>=1.4',
        'scikit-image>=0.22',
        'pydicom>=2.4',
    ],
    # nbclient and ipykernel execute the notebook of docs/tutorials.
    extras_require={'dev': ['pytest>=8.0', 'ruff>=0.6', 'nbclient>=0.10', 'ipykernel>=6.29']},
)
