"""The store that a cache command looks at."""

from clip_adapter.runs import MissingRootError
from clip_adapter.settings import Settings
from feature_cache import Location, StoredFolder, classifier_folders, is_content, storage
from feature_cache.files import is_final


def existing_root(root: str | None) -> Location:
    """The root, if there is one: an empty answer about a misspelt folder would be a wrong one.

    Raises:
        MissingRootError: There is no such folder, or nothing below such a prefix.
    """
    place = Settings.of(root=root).location
    if not storage.is_folder(place):
        raise MissingRootError(place)
    return place


def sizes_of_files(folder: StoredFolder) -> list[int]:
    """The sizes in bytes of the complete files of a folder."""
    return [entry.size_bytes for entry in storage.list_entries(folder.path) if is_final(entry.name)]


def sizes_of_classifiers(root: Location) -> list[int]:
    """The sizes in bytes of the classifiers that were promoted."""
    return [
        entry.size_bytes
        for folder in classifier_folders(root)
        for entry in storage.list_entries(folder)
        if is_content(entry.name)
    ]
