// Copies between tensors of any layout, converting elements. Freestanding.
#pragma once

#include "ops/kernel.h"

namespace sconce {

// out = from, broadcast to the sizes of out and converted to its element type. Floating to integer
// truncates; anything but zero is true. Equal types move as bytes, complex and 8-bit floats too.
Status copy_tensor(const Tensor& from, Tensor& out, Diagnostic* diagnostic);

// Fills with a number. Fails when an integer type does not hold it.
Status fill_tensor(const Value& number, Tensor& out, Diagnostic* diagnostic);

// Fails for element types that load_elements and store_elements do not know: complex, 8-bit floats.
Status check_plain_type(DType dtype, Diagnostic* diagnostic);

}  // namespace sconce
