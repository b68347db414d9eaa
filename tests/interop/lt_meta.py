"""Metainfo files through libtorrent.

    lt_meta.py show TORRENT              one JSON object: info-hash (of version 1), sizes, files without padding
    lt_meta.py create PATH TORRENT KIND URL   KIND is v1 or hybrid
"""

import json
import os
import sys

import libtorrent as lt


def show(torrent):
    info = lt.torrent_info(torrent)
    files = info.files()
    listed = [
        {"path": files.file_path(file).replace(os.sep, "/"), "bytes": files.file_size(file)}
        for file in range(files.num_files())
        if not files.file_flags(file) & lt.file_storage.flag_pad_file
    ]
    hashes = info.info_hashes()
    print(json.dumps({
        "info_hash": str(hashes.v1),
        "hybrid": hashes.has_v2(),
        "padding": files.num_files() - len(listed),
        "name": info.name(),
        "piece_bytes": info.piece_length(),
        "pieces": info.num_pieces(),
        "trackers": [tracker.url for tracker in info.trackers()],
        "files": listed,
    }))


def create(path, torrent, kind, url):
    files = lt.file_storage()
    lt.add_files(files, path)
    flags = lt.create_torrent.v1_only if kind == "v1" else 0
    made = lt.create_torrent(files, 65536, flags)
    made.add_tracker(url)
    lt.set_piece_hashes(made, os.path.dirname(path))
    with open(torrent, "wb") as file:
        file.write(lt.bencode(made.generate()))


{"show": show, "create": create}[sys.argv[1]](*sys.argv[2:])
