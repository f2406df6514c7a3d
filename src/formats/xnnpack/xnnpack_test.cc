#include "formats/xnnpack/xnnpack.h"

#include <gtest/gtest.h>
