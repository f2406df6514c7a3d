# SCONCE_TEST_PYTHON: the Python of the tests, or empty. SCONCE_EXECUTORCH_ROOT: the executorch package
# (its folder with include/ and lib/), or empty; that Python's is found by itself.

set(SCONCE_PYTHON_EXECUTABLE "" CACHE FILEPATH
    "Python with tests/python/requirements.txt installed; .venv is used when it exists")
set(SCONCE_TEST_PYTHON "${SCONCE_PYTHON_EXECUTABLE}")
if(NOT SCONCE_TEST_PYTHON AND EXISTS ${PROJECT_SOURCE_DIR}/.venv/bin/python)
  set(SCONCE_TEST_PYTHON ${PROJECT_SOURCE_DIR}/.venv/bin/python)
endif()

set(SCONCE_EXECUTORCH_ROOT "" CACHE PATH
    "Folder of the installed executorch package: builds libsconce_executorch.so against it")
if(NOT SCONCE_EXECUTORCH_ROOT AND SCONCE_TEST_PYTHON)
  execute_process(COMMAND ${SCONCE_TEST_PYTHON} -c
                  "import importlib.util as u; s = u.find_spec('executorch'); print([*s.submodule_search_locations][0] if s else '')"
                  OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(found AND EXISTS ${found}/lib/libexecutorch.so)
    set(SCONCE_EXECUTORCH_ROOT ${found})
  endif()
endif()
