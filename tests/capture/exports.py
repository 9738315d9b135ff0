"""A small nsys export with the schema of nsys 2025.3, and a secret in every place that can hold one."""

import sqlite3

# One secret per place, so that a failing test names the place.
SECRETS = {
    place: f"sEcReT-{place}-0f8a"
    for place in (
        *("environment", "nul_environment", "foreign_environment", "command", "host_name", "process_name"),
        *("thread_name", "stream", "diagnostic", "analysis_file", "system_property", "gpu_uuid", "gpu_bus", "gpu_path"),
        *("input_file", "foreign_range", "foreign_domain_range", "foreign_kernel", "unknown_table", "unknown_column"),
        *("unused_string", "json_text", "binary_data", "session"),
    )
}

OWN_PROCESS, FOREIGN_PROCESS = 0x1_0001 << 24, 0x1_0002 << 24
OWN_THREAD, FOREIGN_THREAD = OWN_PROCESS | 7, FOREIGN_PROCESS | 7

_SCHEMA = """
CREATE TABLE StringIds (id INTEGER NOT NULL PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE META_DATA_CAPTURE (name TEXT NOT NULL, value TEXT);
CREATE TABLE META_DATA_EXPORT (name TEXT NOT NULL, value TEXT);
CREATE TABLE TARGET_INFO_SYSTEM_ENV (globalVid INTEGER, devStateName TEXT, name TEXT, nameEnum INTEGER, value TEXT);
CREATE TABLE TARGET_INFO_GPU (
    vmId INTEGER, id INTEGER, name TEXT, busLocation TEXT, smCount INTEGER, uuid TEXT, ctxswDevPath TEXT);
CREATE TABLE PROCESSES (globalPid INTEGER, pid INTEGER, name TEXT);
CREATE TABLE ThreadNames (nameId INTEGER NOT NULL, priority INTEGER, globalTid INTEGER);
CREATE TABLE ProcessStreams (globalPid INTEGER, filenameId INTEGER, contentId INTEGER);
CREATE TABLE DIAGNOSTIC_EVENT (
    timestamp INTEGER, timestampType INTEGER, source INTEGER, severity INTEGER, text TEXT, globalPid INTEGER);
CREATE TABLE ANALYSIS_FILE (id INTEGER, filename TEXT, contentId INTEGER, globalPid INTEGER);
CREATE TABLE SOMETHING_NEW (text TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (
    start INTEGER, end INTEGER, deviceId INTEGER, contextId INTEGER, streamId INTEGER, correlationId INTEGER,
    globalPid INTEGER, demangledName INTEGER, shortName INTEGER, registersPerThread INTEGER,
    gridX INTEGER, gridY INTEGER, gridZ INTEGER, blockX INTEGER, blockY INTEGER, blockZ INTEGER,
    staticSharedMemory INTEGER, dynamicSharedMemory INTEGER, somethingNew TEXT);
CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (
    start INTEGER, end INTEGER, eventClass INTEGER, globalTid INTEGER, correlationId INTEGER, nameId INTEGER,
    returnValue INTEGER);
CREATE TABLE NVTX_EVENTS (
    start INTEGER, end INTEGER, eventType INTEGER, text TEXT, globalTid INTEGER, textId INTEGER, domainId INTEGER,
    jsonText TEXT, binaryData TEXT);
"""


def write_export(path, *, own_ranges=True):
    """Write the export; kernels `first`, `second` ran under run → prefill → model, with one mark before `first`."""
    strings: list[str] = []

    def string(value):
        strings.append(value)
        return len(strings)

    with sqlite3.connect(path) as connection:
        connection.executescript(_SCHEMA)

        def insert(table, **row):
            marks = ", ".join("?" for _ in row)
            connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", tuple(row.values()))

        def kernel(process, name, start, correlation, **more):
            launch = dict.fromkeys(("gridX", "gridY", "gridZ", "blockX", "blockY", "blockZ", "registersPerThread"), 1)
            shared = {"staticSharedMemory": 0, "dynamicSharedMemory": 0}
            names = {"demangledName": string(name), "shortName": string("kernel")}
            times = {"start": start, "end": start + 5, "correlationId": correlation, "globalPid": process}
            insert("CUPTI_ACTIVITY_KIND_KERNEL", **times, **names, **launch, **shared, **more)

        def launch(thread, start, correlation):
            insert(
                "CUPTI_ACTIVITY_KIND_RUNTIME",
                **{"start": start, "end": start + 1, "eventClass": 0, "globalTid": thread, "returnValue": 0},
                **{"correlationId": correlation, "nameId": string("cudaLaunchKernel_v7000")},
            )

        def nvtx(kind, start, end, text, thread=OWN_THREAD, domain=1, **more):
            row = {"start": start, "end": end, "eventType": kind, "globalTid": thread, "domainId": domain}
            insert("NVTX_EVENTS", **row, **more, **({"text": text} if kind == 75 else {"textId": string(text)}))

        kernel(OWN_PROCESS, "first", 20, 1)
        kernel(OWN_PROCESS, "second", 30, 2, somethingNew=SECRETS["unknown_column"])
        kernel(FOREIGN_PROCESS, SECRETS["foreign_kernel"], 25, 1)
        launch(OWN_THREAD, 18, 1)
        launch(OWN_THREAD, 19, 2)
        launch(OWN_THREAD, 21, 3)  # started nothing on the GPU
        launch(FOREIGN_THREAD, 18, 1)
        nvtx(75, 1, None, "tracediff" if own_ranges else "other")
        nvtx(75, 2, None, "somebody else's", domain=2)
        nvtx(59, 10, 50, "run")
        nvtx(59, 11, 40, "prefill")
        nvtx(59, 12, 39, "model", jsonText=SECRETS["json_text"], binaryData=SECRETS["binary_data"])
        nvtx(34, 13, None, "cublasLtHSHMatmul algo=[algoId=66]")
        nvtx(59, 14, 15, SECRETS["foreign_domain_range"], domain=2)
        nvtx(59, 14, 15, SECRETS["foreign_range"], thread=FOREIGN_THREAD)

        for name, value in (
            ("CUDA_GRAPH", "x"),
            ("PROCESS_0:CUDA_GRAPH_TRACE_OPTIONS:MODE", "Node"),
            ("PROCESS_0:ENVIRONMENT_VARIABLE", f"TOKEN={SECRETS['environment']}"),
            ("PROCESS_0:ENVIRONMENT_VARIABLE", f"A=b\0TOKEN={SECRETS['nul_environment']}"),
            ("PROCESS_0:COMMAND", SECRETS["command"]),
            ("DEVICE_DISPLAY_NAME", SECRETS["host_name"]),
            ("PROFILING_SESSION_UUID", SECRETS["session"]),
        ):
            insert("META_DATA_CAPTURE", name=name, value=value)
        for name, value in (
            ("EXPORT_PRODUCT_VERSION", "2025.3.2.0"),
            ("EXPORT_SCHEMA_VERSION", "3.20.3"),
            ("EXPORT_PARAM_INPUT_FILE", SECRETS["input_file"]),
        ):
            insert("META_DATA_EXPORT", name=name, value=value)
        insert("TARGET_INFO_SYSTEM_ENV", name="Hostname", value=SECRETS["system_property"])
        insert(
            "TARGET_INFO_GPU",
            **{"vmId": 1, "id": 0, "name": "NVIDIA H200", "smCount": 132, "uuid": SECRETS["gpu_uuid"]},
            **{"busLocation": SECRETS["gpu_bus"], "ctxswDevPath": SECRETS["gpu_path"]},
        )
        insert("PROCESSES", globalPid=FOREIGN_PROCESS, pid=2, name=SECRETS["process_name"])
        insert("ThreadNames", nameId=string(SECRETS["thread_name"]), priority=0, globalTid=FOREIGN_THREAD)
        stream = f"/proc/2/environ\0X={SECRETS['foreign_environment']}\0Y={SECRETS['stream']}"
        insert("ProcessStreams", globalPid=FOREIGN_PROCESS, filenameId=string("stdout"), contentId=string(stream))
        insert("DIAGNOSTIC_EVENT", timestamp=0, severity=3, text=SECRETS["diagnostic"], globalPid=FOREIGN_PROCESS)
        insert("ANALYSIS_FILE", id=1, filename=SECRETS["analysis_file"], globalPid=FOREIGN_PROCESS)
        insert("SOMETHING_NEW", text=SECRETS["unknown_table"])
        string(SECRETS["unused_string"])
        connection.executemany("INSERT INTO StringIds VALUES (?, ?)", list(enumerate(strings, start=1)))
    connection.close()
    return path
