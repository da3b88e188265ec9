"""The tables of history.sqlite, version by version. A new version is one more entry in `MIGRATIONS`; none is changed.

`PRAGMA user_version` holds the version of a file. Times are UTC as text, ISO 8601. Runs are ordered by their number and
not by their times: a clock can jump.
"""

from __future__ import annotations

_1 = """
CREATE TABLE runs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL UNIQUE,
    started TEXT NOT NULL,
    finished TEXT,
    exit_code INTEGER,
    tool TEXT NOT NULL,
    command TEXT NOT NULL,
    bench TEXT NOT NULL,
    host TEXT NOT NULL,
    variant TEXT,
    report TEXT,
    clock_went_back INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE requirements (
    id TEXT PRIMARY KEY,
    area TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE TABLE tests (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
);
CREATE TABLE checks (
    test INTEGER NOT NULL REFERENCES tests(id),
    requirement TEXT NOT NULL,
    PRIMARY KEY (test, requirement)
) WITHOUT ROWID;
CREATE TABLE boards (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    chip TEXT NOT NULL,
    UNIQUE (name, kind, chip)
);
CREATE TABLE results (
    id INTEGER PRIMARY KEY,
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    test INTEGER NOT NULL REFERENCES tests(id),
    board INTEGER NOT NULL REFERENCES boards(id),
    verdict TEXT NOT NULL,
    reason TEXT NOT NULL,
    started TEXT NOT NULL,
    duration_s REAL NOT NULL,
    app_elf TEXT,
    bootloader TEXT,
    idf TEXT,
    otadata_erases INTEGER NOT NULL,
    UNIQUE (run, test, board)
);
CREATE INDEX results_by_test ON results(test, run);
CREATE INDEX results_by_board ON results(board, run);
CREATE TABLE tries (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    test INTEGER NOT NULL REFERENCES tests(id),
    board INTEGER NOT NULL REFERENCES boards(id),
    reason TEXT NOT NULL
);
CREATE INDEX tries_by_run ON tries(run);
CREATE VIEW results_flat AS
    SELECT runs.name AS run, tests.name AS test, boards.name AS board, boards.chip AS chip, results.verdict,
           results.reason, results.started, results.duration_s, results.app_elf, results.bootloader, results.idf
    FROM results JOIN runs ON runs.id = results.run JOIN tests ON tests.id = results.test
    JOIN boards ON boards.id = results.board;
"""

_2 = """
CREATE TABLE quarantined (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    board TEXT NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (run, board)
) WITHOUT ROWID;
CREATE TABLE sweeps (
    run INTEGER NOT NULL REFERENCES runs(id) ON DELETE CASCADE,
    scenario TEXT NOT NULL,
    board INTEGER NOT NULL REFERENCES boards(id),
    verdict TEXT NOT NULL,
    images INTEGER NOT NULL,
    findings INTEGER NOT NULL,
    PRIMARY KEY (run, scenario, board)
) WITHOUT ROWID;
CREATE INDEX results_alike ON results(test, board, app_elf, bootloader, verdict);
CREATE VIEW tries_flat AS
    SELECT runs.name AS run, tests.name AS test, boards.name AS board, tries.reason
    FROM tries JOIN runs ON runs.id = tries.run JOIN tests ON tests.id = tries.test
    JOIN boards ON boards.id = tries.board;
"""

MIGRATIONS = (_1, _2)
"""Entry n - 1 leads to version n."""
VERSION = len(MIGRATIONS)
APPLICATION_ID = 0x52424B31
"""`PRAGMA application_id` of the file: says that it is ours."""
