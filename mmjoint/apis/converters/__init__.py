from .aggregate_decouple import AGGREGATE_DECOUPLE_CONVERTER
from .common import Converter, check_fit, read_official
from .mc_unet import MC_UNET_CONVERTER
from .multimix import MULTIMIX_CONVERTER
from .pssnet import PSSNET_CONVERTER, PSSNET_STAGE1_CONVERTER
from .swin import SWIN_CONVERTER
from .uml import UML_CONVERTER, UML_PAPER_CONVERTER

CONVERTERS: dict[str, Converter] = {
    'aggregate_decouple': AGGREGATE_DECOUPLE_CONVERTER,
    'mc_unet': MC_UNET_CONVERTER,
    'multimix': MULTIMIX_CONVERTER,
    'pssnet': PSSNET_CONVERTER,
    'pssnet-stage1': PSSNET_STAGE1_CONVERTER,
    'swin': SWIN_CONVERTER,
    'uml': UML_CONVERTER,
    'uml-paper': UML_PAPER_CONVERTER,
}

__all__ = ['CONVERTERS', 'Converter', 'check_fit', 'read_official']
