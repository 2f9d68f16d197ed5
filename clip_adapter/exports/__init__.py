"""Classifiers and results for use elsewhere.

A trained classifier becomes a folder with ONNX graphs, a model card and a script; recorded runs become files
of CLIP_benchmark or a tracking store of MLflow. What computes is imported, with torch and onnx, when something is exported.
"""

from clip_adapter.exports.agreement import Agreement as Agreement
from clip_adapter.exports.agreement import open_graph as open_graph
from clip_adapter.exports.card import ModelCard as ModelCard
from clip_adapter.exports.card import read_card as read_card
from clip_adapter.exports.clip_benchmark import write_clip_benchmark as write_clip_benchmark
from clip_adapter.exports.folder import check_packages as check_packages
from clip_adapter.exports.folder import foreign_file as foreign_file
from clip_adapter.exports.folder import is_export as is_export
from clip_adapter.exports.folder import public_classifier as public_classifier
from clip_adapter.exports.folder import public_name as public_name
from clip_adapter.exports.folder import write_files as write_files
from clip_adapter.exports.mlflow_store import write_mlflow as write_mlflow
