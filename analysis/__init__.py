"""From run folders to numbers with error bars and figures."""

from mlcalc.common.packages import keep_old_paths

# Import paths that the documentation of version 0.1 gave.
keep_old_paths(
    __name__,
    {
        "bond_names": "structure.bond_names",
        "boxes": "structure.boxes",
        "exchange": "structure.exchange",
        "gyration": "distances.gyration",
        "ipi_output": "ipi.output",
        "liquid_structure": "liquid.structure",
        "lrp": "relevance.trace",
        "molecules": "structure.molecules",
        "properties": "runs.properties",
        "relevance_figure": "relevance.figure",
        "relevance_report": "relevance.explain",
        "relevance_run": "relevance.along_run",
        "relevance_view": "relevance.view",
        "report": "distances.report",
        "run_distances": "distances.run_distances",
        "slow_motion": "distances.slow_motion",
        "spectra": "spectrum.spectra",
        "spectrum_report": "spectrum.report",
        "universe": "runs.universe",
        "vdos": "spectrum.vdos",
        "walks": "relevance.walks",
    },
)
