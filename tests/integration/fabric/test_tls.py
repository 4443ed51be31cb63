"""The listeners with TLS: the same readers and clients, over an encrypted wire."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import nats
import pytest

from shoal.domain.errors import UnavailableError
from shoal.fabric.config import TlsFiles
from shoal.fabric.connection import connect
from shoal.fabric.identity import AuthCallout
from shoal.fabric.journal import JournalReader
from shoal.fabric.keys import Role
from shoal.fabric.streams import ensure_streams
from shoal.fabric.subjects import TELEMETRY_STREAM, journal_filter
from tests.integration.fabric.cluster import Cluster
from tests.integration.fabric.plant import TIMEOUT_S, Plant, read_some

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")


def test_cluster_forms_over_tls_routes(tmp_path: Path, files: TlsFiles) -> None:
    mutual = dataclasses.replace(files, ca=files.cert)

    async def body() -> None:
        async with Cluster.running(tmp_path, tls=mutual) as cluster, cluster.client(Role.FABRIC) as fabric:
            info = await cluster.wait_whole(fabric, TELEMETRY_STREAM)
            assert {
                info["cluster"]["leader"],
                *(each["name"] for each in info["cluster"]["replicas"]),
            } == set(cluster.nodes)
            routes = await cluster.nodes["n0"].monitoring("routez")
            assert routes["num_routes"] >= 2
            with socket.create_connection(("127.0.0.1", cluster.nodes["n0"].options.cluster_port), 5) as raw:
                raw.sendall(b"CONNECT {}\r\n")
                assert b"INFO" not in raw.recv(1 << 16), "a stranger without a certificate is answered"

    asyncio.run(body())


@pytest.fixture
def files(tmp_path: Path) -> TlsFiles:
    made = TlsFiles(cert=tmp_path / "cert.pem", key=tmp_path / "key.pem")
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
            ),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"),
            *("-keyout", str(made.key), "-out", str(made.cert)),
        ],
        check=True,
        capture_output=True,
    )
    return made


def test_fabric_works_over_tls(tmp_path: Path, files: TlsFiles) -> None:
    plant = Plant.make(tmp_path, client_tls=files, mqtt_tls=files, websocket_tls=files)
    trust = ssl.create_default_context(cafile=str(files.cert))
    payloads = [b"%d" % number for number in range(2000)] + [b"x" * (2 << 20), b"end"]

    def reader(tls: ssl.SSLContext | None) -> JournalReader:
        return JournalReader(
            plant.server.url,
            seed=plant.keys.seed(Role.JOURNAL),
            stream=TELEMETRY_STREAM,
            filters=journal_filter(),
            start_seq=1,
            tls=tls,
        )

    async def body() -> None:
        async with plant.server as server:
            assert server.url.startswith("tls://")
            fabric = await connect(server.url, seed=plant.keys.seed(Role.FABRIC), name="fabric", tls=trust)
            await ensure_streams(fabric)
            await fabric.close()
            callout = AuthCallout(plant.keys, lambda *_: True)
            serving = asyncio.create_task(callout.serve(server.url, tls=trust))
            async with asyncio.timeout(TIMEOUT_S):
                await callout.ready.wait()
            device = await nats.connect(
                server.url, user="t1", password="any", tls=trust, allow_reconnect=False
            )
            for payload in payloads:
                await device.publish("dev.t1.tele", payload)
            await device.drain()
            async with reader(trust) as journal:
                assert [payload for _, _, payload in await read_some(journal, len(payloads))] == payloads
                assert journal.statistics().reconnects == 0
            async with reader(None) as distrustful:
                assert await distrustful.read(0.2) is None
                assert "CERTIFICATE_VERIFY_FAILED" in distrustful.statistics().last_fault
                with pytest.raises(UnavailableError):
                    await distrustful.last_seq()
            serving.cancel()
            await asyncio.wait([serving])

    asyncio.run(body())
