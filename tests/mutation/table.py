"""The table in docs/mutation.md: a row per mutant, between two marks. The document is the only store of results: a run
replaces the rows of the mutants that it examined, renumbers the others and drops those whose line is gone."""
import collections
import datetime
import os
import re
import sys

BEGIN, END = "<!-- written by tests/mutation/mutate.py -->", "<!-- end -->"
NOT_RUN = "**not run**"
NOT_NOTICED = "**none**"


def key_of(mutant):
    """What a row is found by again when lines have moved: all but the line's number."""
    return mutant.file.removeprefix("kernels/"), mutant.function, mutant.text, mutant.reason, mutant.mutation


class Table:
    def __init__(self, path, mutants, detectors):
        self.path, self.mutants, self.detectors = path, mutants, detectors
        self.old = self.parts()[1]
        self.cells = self.kept_cells()
        date = re.search(r"\d{4}-\d\d-\d\d", self.old)
        self.date = date[0] if date else ""

    def parts(self):
        """The document before the table, the table, and what follows."""
        head, found, rest = self.path.read_text().partition(BEGIN)
        old, found_too, tail = rest.partition(END)
        if not found or not found_too:
            sys.exit(f"{self.path}: no place for the table; it stands between the lines {BEGIN} and {END}")
        return head, old, tail

    def kept_cells(self):
        """{mutant: cells of the detectors, and the test}, of rows that can be told apart."""
        rows, mutants = collections.defaultdict(list), collections.defaultdict(list)
        for line in self.old.splitlines():
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if re.match(r"[\w.]+:\d+$", cells[0]) and len(cells) == 6 + len(self.detectors):
                key = (cells[0].split(":")[0], cells[1].strip("`"), cells[2].strip("`"), cells[3], cells[4])
                rows[key].append(cells[5:])
        for mutant in self.mutants:
            mutants[key_of(mutant)].append(mutant)
        return {mutant: cells for key, equals in mutants.items() if len(equals) == len(rows[key])
                for mutant, cells in zip(equals, rows[key]) if cells[-1] != NOT_RUN}

    def has(self, mutant):
        return mutant in self.cells

    def add(self, mutant, found):
        """Results of one mutant, {detector: (how, test)}; in the document at once, so that a run may be cut short."""
        test = next((test for how, test in found.values() if how), "")
        hows = [found[name][0] or "-" if name in found else "" for name in self.detectors]
        self.cells[mutant] = [*hows, f"`{test.removeprefix('Table/')}`" if test else NOT_NOTICED]
        self.date = datetime.date.today().isoformat()
        self.write()

    def written(self):
        head = ["place", "function", "statement", "what it is for", "mutation", *self.detectors, "test"]
        rows = [head, ["---"] * len(head)]
        for mutant in self.mutants:
            file, function, text, reason, mutation = key_of(mutant)
            cells = self.cells.get(mutant, [""] * len(self.detectors) + [NOT_RUN])
            rows.append([f"{file}:{mutant.line}", f"`{function}`", f"`{text}`", reason, mutation, *cells])
        return f"\n{self.totals()}\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"

    def totals(self):
        places = {mutant.place for mutant in self.mutants}
        files = {mutant.file for mutant in self.mutants}
        hows = {name: [cells[i] for cells in self.cells.values() if cells[i] not in ("-", "")]
                for i, name in enumerate(self.detectors)}
        noticed = sum(cells[-1] != NOT_NOTICED for cells in self.cells.values())
        alone = collections.Counter(name for cells in self.cells.values() for i, name in enumerate(self.detectors)
                                    if [cell in ("-", "") for cell in cells[:-1]].count(False) == 1
                                    and cells[i] not in ("-", ""))
        rows = [["detector", "notices", "and nothing else does", "how"], ["---"] * 4]
        rows += [[name, str(len(found)), str(alone[name]),
                  ", ".join(f"{how} {times}" for how, times in collections.Counter(found).most_common())]
                 for name, found in hows.items()]
        return (f"{len(self.mutants)} mutants of {len(places)} lines in {len(files)} files: {noticed} noticed, "
                f"{len(self.cells) - noticed} not, {len(self.mutants) - len(self.cells)} not run. "
                f"Last run {self.date or 'never'}.\n\n" + "\n".join("| " + " | ".join(row) + " |" for row in rows))

    def is_current(self):
        return self.written() == self.old and all(self.has(mutant) for mutant in self.mutants)

    def write(self):
        head, _, tail = self.parts()
        aside = self.path.with_name(self.path.name + ".new")
        aside.write_text(head + BEGIN + self.written() + END + tail)
        os.replace(aside, self.path)
