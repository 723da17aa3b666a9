# Everything runs in .venv, made on demand from the pinned requirements.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check bench soak clean

demo: $(STAMP)
	$(BIN)/tinyablate run demo/ablation

test: $(STAMP)
	$(BIN)/pytest -q -n 2 --dist loadfile --no-loadscope-reorder

check: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(STAMP)
	@test -f tests/benchmarks/bench_$(NAME).py || { echo "make bench NAME=…: one of" $(patsubst tests/benchmarks/bench_%.py,%,$(wildcard tests/benchmarks/bench_*.py)) >&2; exit 2; }
	@$(BIN)/python tests/benchmarks/bench_$(NAME).py

SIEGES := $(filter-out soaking,$(patsubst tests/soak/%.py,%,$(wildcard tests/soak/*.py)))

soak: $(STAMP)
	@test -z "$(NAME)" -o -f tests/soak/$(NAME).py || { echo "make soak NAME=…: one of $(SIEGES)" >&2; exit 2; }
	@test -n "$(NAME)" || TINYABLATE_SOAK=1 $(BIN)/pytest -q tests/reliability --ignore tests/reliability/test_kills.py || bad=1; \
	for name in $(or $(NAME),$(SIEGES)); do PYTHONPATH=tests $(BIN)/python tests/soak/$$name.py $(ARGS) || bad=1; done; exit $${bad:-0}

$(STAMP): pyproject.toml requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $(STAMP)

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache
