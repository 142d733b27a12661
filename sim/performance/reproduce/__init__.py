"""The paper's figures beside ours: SkipOPU, arXiv 2603.14785v1."""
