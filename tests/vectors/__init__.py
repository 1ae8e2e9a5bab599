"""Known answers of the `lwe` suite: an independent slow implementation, what it computed, and inputs to refuse.

`reference` follows docs/lwe-spec.md in plain integers and shares no code with the package; `scenarios` names the
inputs; `python -m vectors.generate` in the folder above writes one JSON file per scenario.
"""
