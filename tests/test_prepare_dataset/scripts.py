"""The scripts of prepare_dataset/, imported as Python finds them when it runs one of them."""

import importlib
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / 'prepare_dataset'
sys.path.insert(0, str(FOLDER))

aria = importlib.import_module('aria')
chest_xray_pneumonia = importlib.import_module('chest_xray_pneumonia')
chest_xrays = importlib.import_module('chest_xrays')
common = importlib.import_module('common')
ddr = importlib.import_module('ddr')
drive = importlib.import_module('drive')
fundus_maps = importlib.import_module('fundus_maps')
fundus_tasks = importlib.import_module('fundus_tasks')
idrid = importlib.import_module('idrid')
isic2016 = importlib.import_module('isic2016')
isic2016_layout = importlib.import_module('isic2016_layout')
ispy1 = importlib.import_module('ispy1')
ispy1_layout = importlib.import_module('ispy1_layout')
jsrt = importlib.import_module('jsrt')
la = importlib.import_module('la')
make_phantoms = importlib.import_module('make_phantoms')
mmwhs = importlib.import_module('mmwhs')
mnms = importlib.import_module('mnms')
mnms_layout = importlib.import_module('mnms_layout')
montgomery = importlib.import_module('montgomery')
nih_pneumonia = importlib.import_module('nih_pneumonia')
reading = importlib.import_module('reading')
refuge = importlib.import_module('refuge')
refuge_tasks = importlib.import_module('refuge_tasks')
resizing = importlib.import_module('resizing')
reta = importlib.import_module('reta')
stare = importlib.import_module('stare')
synapse = importlib.import_module('synapse')
volume_sets = importlib.import_module('volume_sets')
volumes = importlib.import_module('volumes')
