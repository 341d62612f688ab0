// Tensors as JSON: zeros to start from, and what was typed, with its shape.

// By TensorFlow's type: NumPy's name, KServe's name, and the field of a TensorProto.
export const TYPES = {
  DT_FLOAT: ["float32", "FP32", "float_val"],
  DT_DOUBLE: ["float64", "FP64", "double_val"],
  DT_INT8: ["int8", "INT8", "int_val"],
  DT_INT16: ["int16", "INT16", "int_val"],
  DT_INT32: ["int32", "INT32", "int_val"],
  DT_INT64: ["int64", "INT64", "int64_val"],
  DT_UINT8: ["uint8", "UINT8", "int_val"],
  DT_UINT16: ["uint16", "UINT16", "int_val"],
  DT_UINT32: ["uint32", "UINT32", "uint32_val"],
  DT_UINT64: ["uint64", "UINT64", "uint64_val"],
  DT_BOOL: ["bool", "BOOL", "bool_val"],
  DT_HALF: ["float16", "FP16", null],
  DT_STRING: ["object", "BYTES", "string_val"],
};
const MOST_ELEMENTS = 20000;

/** A value of a tensor's type and shape to start from, as JSON; empty if it would be too long. */
export function startingText(tensor) {
  const shape = (tensor.shape || [1]).map((size) => (size < 0 ? 1 : size));
  const elements = shape.reduce((product, size) => product * size, 1);
  if (elements > MOST_ELEMENTS) return "";
  const element = tensor.dtype === "DT_STRING" ? "" : tensor.dtype === "DT_BOOL" ? false : 0;
  const nested = (sizes) => (sizes.length ? Array.from({ length: sizes[0] }, () => nested(sizes.slice(1))) : element);
  return JSON.stringify(nested(shape));
}

/**
 * Reads what was typed for a tensor.
 *
 * @returns {{name: string, dtype: string, value: *, shape: number[], flat: Array}}
 * @throws {Error} It is not JSON, or its lists have different lengths.
 */
export function readTensor(tensor, text) {
  let value;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Error(`${tensor.name} is not JSON (${error.message}), expected for example ${startingText(tensor).slice(0, 60) || "a list of numbers"}`);
  }
  const shape = [];
  for (let inner = value; Array.isArray(inner); [inner] = inner) shape.push(inner.length);
  return { name: tensor.name, dtype: tensor.dtype, value, shape, flat: flatten(tensor.name, value, shape, 0) };
}

function flatten(name, value, shape, depth) {
  if (depth === shape.length) {
    if (Array.isArray(value)) throw new Error(`${name} has lists of different depths, expected the same depth everywhere`);
    return [value];
  }
  if (!Array.isArray(value) || value.length !== shape[depth]) {
    throw new Error(`${name} has lists of different lengths, expected ${shape[depth]} elements at depth ${depth + 1}`);
  }
  return value.flatMap((each) => flatten(name, each, shape, depth + 1));
}
