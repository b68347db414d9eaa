"""A libtorrent peer that is told what to do in lines of JSON on stdin and answers in the same way on stdout.

    lt_peer.py TORRENT|MAGNET DIR LISTEN [--no-trackers] [--pex] [--up BYTES_PER_S]

Says {"event": "ready"} when it has checked what is in DIR, and {"event": "complete"} once when every piece
is verified, and {"event": "met", "id": HEX} once for each peer. Understands {"do": "connect", "to": "ADDR:PORT"}, {"do": "limit", "up": BYTES_PER_S} and
{"do": "stats"}; ends with the end of its input. DHT, LSD, uTP and port mapping are off, PEX unless it
is asked for.
"""

import argparse
import json
import queue
import sys
import threading
import time

import libtorrent as lt

POLL_S = 0.02


def say(**event):
    print(json.dumps(event), flush=True)


def session(listen):
    settings = {
        "listen_interfaces": listen,
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "enable_incoming_utp": False,
        "enable_outgoing_utp": False,
        "allow_multiple_connections_per_ip": True,
        "alert_mask": lt.alert.category_t.error_notification
        | lt.alert.category_t.status_notification
        | lt.alert.category_t.tracker_notification
        | lt.alert.category_t.connect_notification
        | lt.alert.category_t.peer_notification,
    }
    return lt.session(settings)


def add(ses, args):
    if args.torrent.startswith("magnet:"):
        params = lt.parse_magnet_uri(args.torrent)
    else:
        params = lt.add_torrent_params()
        params.ti = lt.torrent_info(args.torrent)
    params.save_path = args.dir
    params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
    params.flags |= lt.torrent_flags.disable_dht | lt.torrent_flags.disable_lsd
    if not args.pex:
        params.flags |= lt.torrent_flags.disable_pex
    torrent = ses.add_torrent(params)
    if args.no_trackers:
        torrent.replace_trackers([])
    torrent.set_upload_limit(args.up)
    return torrent


class Books:
    """Payload per peer, also of those that have left: the highest of what was seen."""

    def __init__(self):
        self.peers = {}

    def look(self, torrent):
        for peer in torrent.get_peer_info():
            key = bytes(peer.pid.to_bytes()).hex() if not peer.pid.is_all_zeros() else "?"
            if key not in self.peers:
                say(event="met", id=key)
            sent, received = self.peers.get(key, (0, 0))
            self.peers[key] = (max(sent, peer.total_upload), max(received, peer.total_download))


def stats(torrent, books):
    status = torrent.status()
    say(
        event="stats",
        uploaded=status.total_payload_upload,
        downloaded=status.total_payload_download,
        failed=status.total_failed_bytes,
        peers=[{"id": k, "sent": s, "received": r} for k, (s, r) in books.peers.items()],
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("torrent")
    parser.add_argument("dir")
    parser.add_argument("listen")
    parser.add_argument("--no-trackers", action="store_true")
    parser.add_argument("--pex", action="store_true")
    parser.add_argument("--up", type=int, default=0)
    args = parser.parse_args()

    commands = queue.Queue()

    def read():
        for line in sys.stdin:
            commands.put(json.loads(line))
        commands.put({"do": "quit"})

    threading.Thread(target=read, daemon=True).start()

    ses = session(args.listen)
    torrent = add(ses, args)
    books = Books()
    ready = complete = False
    while True:
        try:
            command = commands.get(timeout=POLL_S)
        except queue.Empty:
            command = {"do": "nothing"}
        if command["do"] == "connect":
            host, port = command["to"].rsplit(":", 1)
            torrent.connect_peer((host, int(port)))
        elif command["do"] == "limit":
            torrent.set_upload_limit(command["up"])
        elif command["do"] == "stats":
            books.look(torrent)
            stats(torrent, books)
        elif command["do"] == "quit":
            break
        for alert in ses.pop_alerts():
            print(f"{time.monotonic():.3f} {alert.what()}: {alert.message()}", file=sys.stderr, flush=True)
        books.look(torrent)
        status = torrent.status()
        if not ready and status.state not in (
            lt.torrent_status.checking_files,
            lt.torrent_status.checking_resume_data,
        ):
            ready = True
            say(event="ready", port=ses.listen_port(), seeding=status.is_seeding)
        if ready and not complete and status.is_seeding:
            complete = True
            say(event="complete", at=time.monotonic())


main()
