"""Trained classifiers for use elsewhere: ONNX graphs, a model card and a script in one folder.

What computes is imported, with torch and onnx, when something is exported.
"""

from clip_adapter.exports.agreement import Agreement as Agreement
from clip_adapter.exports.agreement import open_graph as open_graph
from clip_adapter.exports.card import ModelCard as ModelCard
from clip_adapter.exports.card import read_card as read_card
from clip_adapter.exports.folder import check_packages as check_packages
from clip_adapter.exports.folder import foreign_file as foreign_file
from clip_adapter.exports.folder import is_export as is_export
from clip_adapter.exports.folder import public_classifier as public_classifier
from clip_adapter.exports.folder import public_name as public_name
from clip_adapter.exports.folder import write_files as write_files
