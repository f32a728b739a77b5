"""What thousands of seeding torrents cost in other clients.

    many.py libtorrent|transmission DIR COUNT IDLE [TRACKER]

DIR is what `ferri-bench many --prepare` made. The client looks at everything once and is started again; that start is
measured: the time until all torrents seed, then memory, descriptors and threads, and the CPU of IDLE quiet seconds.
One JSON object on standard output.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request

RPC = "http://127.0.0.1:9191/transmission/rpc"


def torrents(folder, count):
    return [f"{folder}/torrents/{n:05}.torrent" for n in range(count)]


def process(pid):
    status = dict(line.split(":", 1) for line in open(f"/proc/{pid}/status") if ":" in line)
    times = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[11:13]
    return {
        "rss_kib": int(status["VmRSS"].split()[0]),
        "rss_peak_kib": int(status["VmHWM"].split()[0]),
        "threads": int(status["Threads"]),
        "fds": len(os.listdir(f"/proc/{pid}/fd")),
        "cpu_s": sum(map(int, times)) / os.sysconf("SC_CLK_TCK"),
    }


def watch(pid, count, serving, before, idle):
    time.sleep(3)
    rest = process(pid)
    time.sleep(idle)
    end = process(pid)
    print(json.dumps({
        "torrents": count,
        "serving_after_s": round(serving, 3),
        "start_cpu_s": round(rest["cpu_s"] - before, 2),
        "rss_kib": end["rss_kib"],
        "rss_peak_kib": end["rss_peak_kib"],
        "idle_cpu_percent": round(100 * (end["cpu_s"] - rest["cpu_s"]) / idle, 2),
        "fds": end["fds"],
        "threads": end["threads"],
    }), flush=True)


def libtorrent(folder, count, idle, tracker):
    # A process for each life.
    state = f"{folder}/libtorrent"
    if not os.path.exists(f"{state}/{count - 1:05}"):
        shutil.rmtree(state, ignore_errors=True)
        os.makedirs(state)
        if child := os.fork():
            assert os.waitpid(child, 0)[1] == 0
        else:
            libtorrent_life(folder, count, None)
            os._exit(0)
    libtorrent_life(folder, count, idle, tracker)
    os._exit(0)


def libtorrent_life(folder, count, idle, tracker=None):
    import libtorrent as lt

    before = process("self")["cpu_s"]
    began = time.monotonic()
    session = lt.session({
        "listen_interfaces": "127.0.0.1:0",
        "enable_dht": False,
        "enable_lsd": False,
        "enable_upnp": False,
        "enable_natpmp": False,
        "active_limit": -1,
        "active_seeds": -1,
        "active_checking": 2,
        "alert_mask": lt.alert.category_t.storage_notification,
        "alert_queue_size": 100_000,
    })
    handles = []
    for n, path in enumerate(torrents(folder, count)):
        if idle is None:
            params = lt.add_torrent_params()
            params.ti = lt.torrent_info(path)
        else:
            params = lt.read_resume_data(open(f"{folder}/libtorrent/{n:05}", "rb").read())
        params.save_path = f"{folder}/payload"
        params.trackers = [tracker] if tracker else []
        params.flags &= ~(lt.torrent_flags.paused | lt.torrent_flags.auto_managed)
        handles.append(session.add_torrent(params))
    while sum(status.is_seeding for status in session.get_torrent_status(lambda _: True)) < count:
        time.sleep(0.02)
    if idle is not None:
        return watch("self", count, time.monotonic() - began, before, idle)
    numbers = {str(handle.info_hash()): n for n, handle in enumerate(handles)}
    for handle in handles:
        handle.save_resume_data(lt.save_resume_flags_t.save_info_dict)
    saved = 0
    while saved < count:
        session.wait_for_alert(1000)
        for alert in session.pop_alerts():
            if isinstance(alert, lt.save_resume_data_alert):
                n = numbers[str(alert.params.info_hashes.v1)]
                with open(f"{folder}/libtorrent/{n:05}", "wb") as file:
                    file.write(lt.write_resume_data_buf(alert.params))
                saved += 1


def transmission(folder, count, idle, tracker):
    home = f"{folder}/transmission-{count}"
    if not os.path.exists(f"{home}/ready"):
        shutil.rmtree(home, ignore_errors=True)
        os.makedirs(f"{home}/torrents")
        daemon = transmission_start(home, folder)
        rpc("torrent-add", {"filename": torrents(folder, 1)[0]})
        transmission_wait(1, 0.1)
        rpc("session-close", {})
        daemon.wait()
        transmission_copy(home, torrents(folder, count))
        open(f"{home}/ready", "w").close()
    began = time.monotonic()
    daemon = transmission_start(home, folder)
    transmission_wait(count, 0.1)
    watch(daemon.pid, count, time.monotonic() - began, 0.0, idle)
    daemon.kill()


def transmission_copy(home, paths):
    # It looks at seven torrents a second; so it looks at the first, and what it notes about it is true of all.
    import libtorrent as lt

    infos = [lt.torrent_info(path) for path in paths]
    first = infos[0]
    for kind in ["torrents", "resume"]:
        [known] = os.listdir(f"{home}/{kind}")
        with open(f"{home}/{kind}/{known}", "rb") as file:
            note = lt.bdecode(file.read())
        for path, info in zip(paths[1:], infos[1:]):
            # Versions name these files by hash, or by name and a part of the hash.
            name = known.replace(str(first.info_hash()), str(info.info_hash()))
            name = name.replace(str(first.info_hash())[:16], str(info.info_hash())[:16])
            name = name.replace(first.name(), info.name())
            if kind == "torrents":
                shutil.copyfile(path, f"{home}/torrents/{name}")
            else:
                note[b"name"] = info.name().encode()
                with open(f"{home}/resume/{name}", "wb") as file:
                    file.write(lt.bencode(note))


def transmission_start(home, folder):
    settings = {
        "bind-address-ipv4": "127.0.0.1",
        "cache-size-mb": 4,
        "dht-enabled": False,
        "download-dir": f"{folder}/payload",
        "lpd-enabled": False,
        "pex-enabled": False,
        "port-forwarding-enabled": False,
        "rpc-port": 9191,
        "utp-enabled": False,
    }
    with open(f"{home}/settings.json", "w") as file:
        json.dump(settings, file)
    return subprocess.Popen(
        ["transmission-daemon", "--foreground", "--config-dir", home],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )


def transmission_wait(count, pause):
    while True:
        found = rpc("torrent-get", {"fields": ["status"], "format": "table"})["torrents"]
        if [row[0] for row in found[1:]].count(6) == count:
            return
        time.sleep(pause)


def rpc(method, arguments, session={}):
    body = json.dumps({"method": method, "arguments": arguments}).encode()
    while True:
        try:
            with urllib.request.urlopen(urllib.request.Request(RPC, body, session)) as answer:
                return json.load(answer)["arguments"]
        except urllib.error.HTTPError as error:
            session["X-Transmission-Session-Id"] = error.headers["X-Transmission-Session-Id"]
        except (urllib.error.URLError, ConnectionError):
            # It does not listen yet.
            time.sleep(0.05)


if __name__ == "__main__":
    client, folder, count, idle, *tracker = sys.argv[1:]
    folder = os.path.abspath(folder)
    globals()[client](folder, int(count), int(idle), tracker[0] if tracker else None)
