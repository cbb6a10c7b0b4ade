.PHONY: setup lint test unit molecule lock

setup: ; ./setup requirements-dev.txt
lint: ; tests/run lint
unit: ; tests/run unit
molecule: ; tests/run molecule
test: ; tests/run

LOCK = .venv/bin/uv pip compile --quiet --universal --generate-hashes --python-version 3.11 --no-emit-index-url --no-header
lock:
	$(LOCK) requirements.in --output-file requirements.txt
	$(LOCK) requirements-dev.in --constraints requirements.txt --output-file requirements-dev.txt
