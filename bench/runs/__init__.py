"""Runs: `piaohao bench run` drives one target with one workload and writes down what it saw."""
