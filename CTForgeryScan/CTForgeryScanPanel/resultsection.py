"""The Result section: verdict, evidence, regions, plot over the slices, flagged slices, and the way through them."""

import html

import qt
from slicer.i18n import tr as _

from CTForgeryScanLib import scene, views
from CTForgeryScanPanel import texts
from CTForgeryScanPanel.profileplot import ProfilePlot

# White on these reads in the light and in the dark theme alike.
VERDICT_COLOURS = {"suspicious": "#9c4a00", "no_tampering_found": "#1e6b3a", "not_assessable": "#4a5563"}
OUTDATED_COLOUR = "#4a5563"

REGION_COLUMNS = ("#", _("Found by"), _("Score"), _("Slices"), _("Centre (mm)"), _("Size (mm)"))
SLICE_COLUMNS = (_("Slice"), _("Position S (mm)"), _("Probability"), _("Peak"))


class ResultSection:
    """Shows the result of one CT and takes the user to the places in it."""

    def __init__(self, ui, onJump):
        """``onJump(volumeNode, ras)`` is called with a place of the CT's own RAS."""
        self._ui = ui
        self._onJump = onJump
        self._volume = None
        self._result = None
        self._shownAt = None
        self._jumpedTo = None
        self._regions = []
        self._flagged = []
        self._evidence = []
        self._plot = ProfilePlot(ui.profileLabel, self.jumpToSlice)
        for table, columns in ((ui.regionsTable, REGION_COLUMNS), (ui.slicesTable, SLICE_COLUMNS)):
            table.setColumnCount(len(columns))
            table.setHorizontalHeaderLabels(list(columns))
            table.horizontalHeader().setStretchLastSection(True)
            table.verticalHeader().hide()
            table.verticalHeader().setDefaultSectionSize(24)
        for column, tip in (
            (2, texts.SCORE_TIP),
            (4, _("Right, anterior, superior, where the crosshair goes")),
        ):
            ui.regionsTable.horizontalHeaderItem(column).setToolTip(tip)
        ui.disclaimerLabel.text = texts.DISCLAIMER
        # The arrow keys change the selection, the focus alone does not; a click on the selected row does not either.
        ui.regionsTable.connect("itemSelectionChanged()", self._onRegion)
        ui.regionsTable.connect("cellClicked(int,int)", self._onRegion)
        ui.slicesTable.connect("itemSelectionChanged()", self._onFlagged)
        ui.slicesTable.connect("cellClicked(int,int)", self._onFlagged)
        ui.evidenceList.connect("itemClicked(QListWidgetItem*)", self._onEvidence)
        ui.evidenceList.connect("itemActivated(QListWidgetItem*)", self._onEvidence)
        ui.previousSliceButton.connect("clicked(bool)", lambda _checked=False: self.stepSlice(-1))
        ui.nextSliceButton.connect("clicked(bool)", lambda _checked=False: self.stepSlice(1))
        ui.previousRegionButton.connect("clicked(bool)", lambda _checked=False: self.stepRegion(-1))
        ui.nextRegionButton.connect("clicked(bool)", lambda _checked=False: self.stepRegion(1))

    @property
    def result(self):
        """The result that is shown; None where none is."""
        return self._result

    def show(self, volumeNode, result):
        """Show the result of a CT; None empties and hides the section."""
        self._volume, self._result = volumeNode, result
        self._regions = result["regions"] if result else []
        self._flagged = [s for s in result["slices"] if s["flagged"]] if result else []
        self._evidence = texts.found(result) if result else []
        ui = self._ui
        ui.resultSection.visible = result is not None
        if result is not None:
            self.fillNotes()
        self._fillEvidence()
        self._shownAt = self._jumpedTo = None
        self.fillPlaces()
        slices = result["slices"] if result else []
        self._plot.show(slices, result["parameters"]["slice_threshold"] if slices else 0.0)
        ui.profileTitleLabel.visible = ui.profileLabel.visible = len(slices) > 1

    def fillNotes(self):
        """Say the verdict, and what speaks against trusting it, such as that the CT was changed since."""
        if self._result is not None:
            verdict, colour = texts.verdictText(self._result), VERDICT_COLOURS[self._result["verdict"]]
            if not scene.is_as_scanned(self._volume):
                verdict, colour = (
                    _("Before the CT was changed: {verdict}").format(verdict=verdict),
                    OUTDATED_COLOUR,
                )
            self._ui.verdictLabel.text = verdict
            self._ui.verdictLabel.styleSheet = (
                f"QLabel {{ background-color: {colour}; color: white;"
                " font-weight: bold; font-size: 14pt; padding: 8px; border-radius: 4px; }"
            )
            lines = [html.escape(sentence) for sentence in texts.notes(self._volume, self._result)]
            self._ui.notesLabel.text = "<br>".join(f"• {line}" for line in lines)
            self._ui.notesLabel.visible = bool(lines)

    def fillPlaces(self):
        """Say where regions and slices lie, anew when the CT was moved: what is selected in the tables is not then."""
        corners = (
            (self._ras(*ijk) for ijk in ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))) if self._result else ()
        )
        at = [scene.to_world(self._volume, corner) for corner in corners]
        if at != self._shownAt:
            self._shownAt = at
            self._fillRegions()
            self._fillSlices()

    def markSliceInView(self):
        """Mark in the plot which slice the views show."""
        if self._result is not None:
            self._plot.mark(views.slice_in_view(self._volume))

    # --- Jumps -----------------------------------------------------------------------------------------------------

    def jumpToSlice(self, k):
        """Jump to the hottest place of a slice, or to its middle where no place of it was judged."""
        at = next((s for s in self._result["slices"] if s["k"] == k), None)
        columns, rows, _count = self._volume.GetImageData().GetDimensions()
        middle = ((columns - 1) / 2, (rows - 1) / 2)
        i, j = (at and at["peak_ij"]) or middle
        self._jumpedTo = k
        self._onJump(self._volume, self._ras(i, j, k))

    def stepSlice(self, step):
        """Jump to the next (1) or previous (-1) flagged slice, seen from the slice in view; around at the ends.

        Where no view shows a slice, as under a transform that bends them, seen from the one that was jumped to last.
        """
        if not self._flagged:
            return
        ks = [s["k"] for s in self._flagged]
        here = views.slice_in_view(self._volume)
        here = self._jumpedTo if here is None else here
        if here is None:
            k = ks[0]
        elif step > 0:
            k = next((k for k in ks if k > here), ks[0])
        else:
            k = next((k for k in reversed(ks) if k < here), ks[-1])
        self.jumpToSlice(k)
        self._select(self._ui.slicesTable, ks.index(k))

    def stepRegion(self, step):
        """Jump to the next (1) or previous (-1) region, seen from the selected one; around at the ends."""
        if not self._regions:
            return
        table = self._ui.regionsTable
        here = self._selected(table)
        # Before the first step there is no selection: -1 + 1 is the first region, 0 - 1 the last.
        start = (-1 if step > 0 else 0) if here is None else here
        self.jumpToRegion((start + step) % len(self._regions))

    def jumpToRegion(self, index):
        self._jumpInto(self._regions[index])
        self._select(self._ui.regionsTable, index)

    def _onRegion(self, *_cell):
        index = self._selected(self._ui.regionsTable)
        if index is not None:
            self._jumpInto(self._regions[index])

    def _jumpInto(self, region):
        self._jumpedTo = round(region["center_ijk"][2])
        self._onJump(self._volume, scene.centre_ras(self._volume, region))

    def _onFlagged(self, *_cell):
        index = self._selected(self._ui.slicesTable)
        if index is not None:
            self.jumpToSlice(self._flagged[index]["k"])

    def _onEvidence(self, item):
        evidence = self._evidence[item.data(qt.Qt.UserRole)]
        if evidence["center_ijk"] is not None:
            self._jumpInto(evidence)

    def _ras(self, i, j, k):
        return (scene.ijk_to_ras(self._volume) @ (i, j, k, 1))[:3]

    # --- Tables ----------------------------------------------------------------------------------------------------

    def _fillEvidence(self):
        ui = self._ui
        ui.evidenceList.clear()
        for index, evidence in enumerate(self._evidence):
            item = qt.QListWidgetItem(evidence["text"])
            item.setData(qt.Qt.UserRole, index)
            item.setToolTip(
                _("Jump to the place") if evidence["center_ijk"] else _("It concerns the whole CT")
            )
            ui.evidenceList.addItem(item)
        ui.evidenceTitleLabel.visible = ui.evidenceList.visible = bool(self._evidence)

    def _fillRegions(self):
        rows = [
            (
                r["id"],
                texts.sourceText(r),
                texts.scoreText(r),
                texts.slicesText(r),
                texts.centreText(self._volume, r),
                texts.sizeText(r),
            )
            for r in self._regions
        ]
        self._fill(self._ui.regionsTable, rows)
        ui = self._ui
        ui.regionsTitleLabel.visible = ui.regionsTable.visible = bool(rows)
        ui.previousRegionButton.enabled = ui.nextRegionButton.enabled = bool(rows)

    def _fillSlices(self):
        columns, rows, _count = self._volume.GetImageData().GetDimensions() if self._flagged else (1, 1, 1)
        position = {
            s["k"]: scene.to_world(self._volume, self._ras((columns - 1) / 2, (rows - 1) / 2, s["k"]))[2]
            for s in self._flagged
        }
        rows = [
            (s["k"], round(position[s["k"]], 1), round(s["probability"], 3), round(s["peak_score"], 3))
            for s in self._flagged
        ]
        self._fill(self._ui.slicesTable, rows)
        ui = self._ui
        ui.slicesTitleLabel.visible = ui.slicesTable.visible = bool(rows)
        ui.previousSliceButton.enabled = ui.nextSliceButton.enabled = bool(rows)

    def _fill(self, table, rows):
        """Numbers are given as numbers, so that a table sorts by value; each row remembers its place in the result."""
        table.blockSignals(True)
        table.setSortingEnabled(False)
        table.setRowCount(0)
        table.setRowCount(len(rows))
        for row, values in enumerate(rows):
            for column, value in enumerate(values):
                item = qt.QTableWidgetItem()
                item.setData(qt.Qt.DisplayRole, value)
                item.setData(qt.Qt.UserRole, row)
                table.setItem(row, column, item)
        table.resizeColumnsToContents()
        table.setSortingEnabled(True)
        table.blockSignals(False)

    def _selected(self, table):
        """The place in the result of the selected row of the table, however it is sorted; None where none is."""
        items = table.selectedItems()
        return items[0].data(qt.Qt.UserRole) if items else None

    def _select(self, table, index):
        """Select the row of a place in the result, without jumping once more."""
        table.blockSignals(True)
        for row in range(table.rowCount):
            if table.item(row, 0).data(qt.Qt.UserRole) == index:
                table.setCurrentCell(row, 0)
        table.blockSignals(False)
