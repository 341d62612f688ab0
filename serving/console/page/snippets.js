// The call that the page has made, as a command or a program. What the user or the model has named
// is quoted for each language: a name must not become a command when somebody pastes the snippet.

import { TYPES } from "./tensors.js";

export const CLIENTS = [
  ["curl", "curl"],
  ["grpcurl", "grpcurl"],
  ["python", "Python client"],
  ["tfs", "tensorflow-serving-api"],
  ["triton", "tritonclient"],
];
const DEFAULT_SIGNATURE = "serving_default";
const BASE64_OF_FILE = "$(base64 < picture.png | tr -d '\\n')";
// Stands for BASE64_OF_FILE while the text around it is quoted.
const PICTURE_MARK = "\u0001";

/**
 * Returns a snippet for each of `CLIENTS`; one that is impossible is `{ why }`.
 *
 * @param {Object} made The call: `kind` is "picture" (a PNG file to Classify), "tensors" (to
 *     Predict) or "example" (a tf.Example to Classify or Regress); `model`; `version`, "" for the
 *     latest; `signature`; of tensors `inputs` (see `readTensor`); of an example `example` and
 *     `method`; of a picture `pixels`: the input of the default signature, null if there is none.
 * @param {Object} place `rest` (origin), `grpc` (host and port), `secure` and `grpcSecure` (whether each has TLS), `hasKey`.
 */
export function snippets(made, place) {
  return {
    curl: curl(made, place),
    grpcurl: grpcurl(made, place),
    python: pythonClient(made, place),
    tfs: tensorflowClient(made, place),
    triton: tritonClient(made, place),
  };
}

// Quoting

/** A text in single quotes of a shell. */
function shellQuoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** A document for the standard input of a command; the mark becomes the base64 of the file. */
function hereDocument(json) {
  const text = JSON.stringify(json);
  const pieces = text.split(JSON.stringify(PICTURE_MARK));
  if (pieces.length === 1) return `<<'END'\n${text}\nEND`;
  const quoted = pieces.map((piece) => piece.replace(/[\\$`]/g, "\\$&")).join(`"${BASE64_OF_FILE}"`);
  return `<<END\n${quoted}\nEND`;
}

/** A JSON text is also a literal of Python, but for these three words. */
function pythonLiteral(value) {
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (Array.isArray(value)) return `[${value.map(pythonLiteral).join(", ")}]`;
  if (typeof value === "object") {
    if (typeof value.b64 === "string") return `base64.b64decode(${JSON.stringify(value.b64)})`;
    return `{${Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${pythonLiteral(each)}`).join(", ")}}`;
  }
  return JSON.stringify(value);
}

function python(lines) {
  const text = lines.flat().filter((line) => line !== null && line !== false).join("\n");
  const imports = ["base64", "os"].filter((library) => text.includes(`${library}.`)).map((library) => `import ${library}`);
  return imports.length ? `${imports.join("\n")}\n${text}` : text;
}

// Parts of calls

function signatureOf(made) {
  return made.signature === DEFAULT_SIGNATURE ? null : made.signature;
}

function restPath(made, method) {
  const version = made.version === "" ? "" : `/versions/${made.version}`;
  return `/v1/models/${encodeURIComponent(made.model).replaceAll("'", "%27")}${version}:${method}`;
}

function withSignature(made, body) {
  return signatureOf(made) ? { signature_name: made.signature, ...body } : body;
}

function exampleOf(made) {
  return made.kind === "picture" ? { "image/encoded": { b64: PICTURE_MARK } } : made.example;
}

function modelSpec(made) {
  const spec = { name: made.model };
  if (made.version !== "") spec.version = Number(made.version);
  if (signatureOf(made)) spec.signature_name = made.signature;
  return spec;
}

/** A feature of a tf.Example in the JSON form of its message. */
function featureMessage(value) {
  const values = Array.isArray(value) ? value : [value];
  if (values.every((each) => typeof each === "string" || (each && typeof each.b64 === "string"))) {
    return { bytes_list: { value: values.map((each) => (typeof each === "string" ? base64OfText(each) : each.b64)) } };
  }
  const numbers = values.map(Number);
  return numbers.every(Number.isInteger) && !hasFraction(values) ? { int64_list: { value: numbers } } : { float_list: { value: numbers } };
}

// JSON.parse makes 1 of 1.0, so an example carries the names of its float features.
function hasFraction(values) {
  return values.some((value) => typeof value === "number" && !Number.isInteger(value));
}

function base64OfText(text) {
  return btoa(String.fromCharCode(...new TextEncoder().encode(text)));
}

function apiOf(made) {
  return made.kind === "picture" || made.method === "classify" ? "Classify" : "Regress";
}

// The clients

function curl(made, place) {
  const options = [place.hasKey && '-H "authorization: Bearer $KEY"', place.secure && "--cacert ca.pem"].filter(Boolean);
  const method = made.kind === "tensors" ? "predict" : apiOf(made).toLowerCase();
  const inputs = made.kind === "tensors" && Object.fromEntries(made.inputs.map((each) => [each.name, each.value]));
  const body = withSignature(made, made.kind === "tensors" ? { inputs } : { examples: [exampleOf(made)] });
  return ["curl -s", ...options, shellQuoted(place.rest + restPath(made, method)), `-d @- ${hereDocument(body)}`].join(" ");
}

function grpcurl(made, place) {
  const options = [place.grpcSecure ? "-cacert ca.pem" : "-plaintext", place.hasKey && '-H "authorization: Bearer $KEY"'].filter(Boolean);
  let method = "Predict";
  let message;
  if (made.kind === "tensors") {
    const odd = made.inputs.find((each) => !TYPES[each.dtype] || !TYPES[each.dtype][2]);
    if (odd) return { why: `grpcurl has no JSON form of ${odd.dtype}; use another client.` };
    message = { model_spec: modelSpec(made), inputs: Object.fromEntries(made.inputs.map((each) => [each.name, tensorMessage(each)])) };
  } else {
    method = apiOf(made);
    const floats = made.floats || [];
    const feature = Object.fromEntries(
      Object.entries(exampleOf(made)).map(([name, value]) => [name, floats.includes(name) ? { float_list: { value: [value].flat() } } : featureMessage(value)]),
    );
    message = { model_spec: modelSpec(made), input: { example_list: { examples: [{ features: { feature } }] } } };
  }
  return ["grpcurl", ...options, "-d @", shellQuoted(place.grpc), `tensorflow.serving.PredictionService/${method}`, hereDocument(message)].join(" ");
}

function tensorMessage(input) {
  const strings = (value) => (typeof value === "string" ? base64OfText(value) : value.b64);
  const values = input.dtype === "DT_STRING" ? input.flat.map(strings) : input.flat;
  return { dtype: input.dtype, tensor_shape: { dim: input.shape.map((size) => ({ size })) }, [TYPES[input.dtype][2]]: values };
}

function arrays(made) {
  return made.inputs.map((each) => [JSON.stringify(each.name), `np.array(${pythonLiteral(each.value)}, "${TYPES[each.dtype][0]}")`]);
}

function oddTensor(made) {
  const odd = made.kind === "tensors" && made.inputs.find((each) => !TYPES[each.dtype]);
  return odd ? { why: `NumPy has no type for ${odd.dtype}; use curl.` } : null;
}

function pythonClient(made, place) {
  if (oddTensor(made)) return oddTensor(made);
  if (made.kind === "example") return { why: "serving.client sends tensors and pictures, and no other tf.Examples; use curl or tensorflow-serving-api." };
  const names = place.grpcSecure ? "PredictClient, tls_credentials" : "PredictClient";
  const options = [
    JSON.stringify(place.grpc),
    place.grpcSecure && 'credentials=tls_credentials("ca.pem")',
    place.hasKey && 'api_key=os.environ["KEY"]',
  ].filter(Boolean);
  const settings = [
    made.version !== "" && `, version=${made.version}`,
    signatureOf(made) && !(made.kind === "picture" && made.signature === "classify") && `, signature_name=${JSON.stringify(made.signature)}`,
  ].filter(Boolean).join("");
  const model = JSON.stringify(made.model);
  if (made.kind === "picture") {
    return python([
      `from serving.client import ${names}`,
      "",
      `with PredictClient(${options.join(", ")}) as client:`,
      `    for name, score in client.classify(${model}, ["picture.png"]${settings})[0]:`,
      '        print(name, f"{score:.4f}")',
    ]);
  }
  return python([
    "import numpy as np",
    `from serving.client import ${names}`,
    "",
    `inputs = {${arrays(made).map((pair) => pair.join(": ")).join(", ")}}`,
    `with PredictClient(${options.join(", ")}) as client:`,
    `    for name, array in client.predict(${model}, inputs${settings}).items():`,
    "        print(name, array.tolist())",
  ]);
}

function tensorflowClient(made, place) {
  if (oddTensor(made)) return oddTensor(made);
  const isPredict = made.kind === "tensors";
  const api = isPredict ? "Predict" : apiOf(made);
  const [file, message] = { Predict: ["predict_pb2", "PredictRequest"], Classify: ["classification_pb2", "ClassificationRequest"], Regress: ["regression_pb2", "RegressionRequest"] }[api];
  const channel = place.grpcSecure
    ? `grpc.secure_channel(${JSON.stringify(place.grpc)}, grpc.ssl_channel_credentials(open("ca.pem", "rb").read()))`
    : `grpc.insecure_channel(${JSON.stringify(place.grpc)})`;
  const metadata = place.hasKey ? ', metadata=[("authorization", f"Bearer {os.environ[\'KEY\']}")]' : "";
  return python([
    "import grpc",
    isPredict && "import numpy as np",
    isPredict && "import tensorflow as tf",
    `from tensorflow_serving.apis import ${file}, prediction_service_pb2_grpc`,
    "",
    `request = ${file}.${message}()`,
    `request.model_spec.name = ${JSON.stringify(made.model)}`,
    made.version !== "" && `request.model_spec.version.value = ${made.version}`,
    signatureOf(made) && `request.model_spec.signature_name = ${JSON.stringify(made.signature)}`,
    isPredict ? arrays(made).map(([name, array]) => `request.inputs[${name}].CopyFrom(tf.make_tensor_proto(${array}))`) : exampleLines(made),
    `with ${channel} as channel:`,
    "    stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)",
    `    answer = stub.${api}(request, timeout=10${metadata})`,
    {
      Predict: ["for name, tensor in answer.outputs.items():", "    print(name, tf.make_ndarray(tensor).tolist())"],
      Classify: ["for each in answer.result.classifications[0].classes:", '    print(each.label, f"{each.score:.4f}")'],
      Regress: ["print(answer.result.regressions[0].value)"],
    }[api],
  ]);
}

function exampleLines(made) {
  const lines = ["feature = request.input.example_list.examples.add().features.feature"];
  if (made.kind === "picture") {
    return [...lines, 'with open("picture.png", "rb") as file:', '    feature["image/encoded"].bytes_list.value.append(file.read())'];
  }
  for (const [name, value] of Object.entries(made.example)) {
    const values = [value].flat();
    const isFloat = (made.floats || []).includes(name);
    const list = isFloat ? "float_list" : Object.keys(featureMessage(value))[0];
    const literal = list === "bytes_list" ? `[${values.map((each) => (typeof each === "string" ? `${JSON.stringify(each)}.encode()` : pythonLiteral(each))).join(", ")}]` : pythonLiteral(values);
    lines.push(`feature[${JSON.stringify(name)}].${list}.value.extend(${literal})`);
  }
  return lines;
}

function tritonClient(made, place) {
  if (oddTensor(made)) return oddTensor(made);
  if (made.kind === "example") return { why: "KServe v2 carries tensors, no tf.Examples; use curl or tensorflow-serving-api." };
  const inputs = made.kind === "tensors" ? made.inputs : [made.pixels];
  if (!inputs[0]) return { why: "The default signature of this model takes no pixels; use another client." };
  const options = [JSON.stringify(place.grpc), place.grpcSecure && 'ssl=True, root_certificates="ca.pem"'].filter(Boolean);
  const settings = [
    made.version !== "" && `, model_version="${made.version}"`,
    made.kind === "tensors" && signatureOf(made) && `, parameters={"signature_name": ${JSON.stringify(made.signature)}}`,
    place.hasKey && ', headers={"authorization": f"Bearer {os.environ[\'KEY\']}"}',
  ].filter(Boolean).join("");
  const [, height, width, channels] = made.kind === "picture" ? made.pixels.shape : [];
  const array =
    made.kind === "picture"
      ? [
          `picture = Image.open("picture.png").convert("${channels === 1 ? "L" : "RGB"}").resize((${width}, ${height}), Image.Resampling.BILINEAR)`,
          `arrays = {${JSON.stringify(made.pixels.name)}: np.asarray(picture, np.uint8).reshape(1, ${height}, ${width}, ${channels})}`,
        ]
      : [`arrays = {${arrays(made).map((pair) => pair.join(": ")).join(", ")}}`];
  return python([
    "import numpy as np",
    "import tritonclient.grpc as triton",
    made.kind === "picture" && "from PIL import Image",
    "",
    array,
    `types = {${inputs.map((each) => `${JSON.stringify(each.name)}: "${TYPES[each.dtype][1]}"`).join(", ")}}`,
    "tensors = []",
    "for name, array in arrays.items():",
    "    tensors.append(triton.InferInput(name, array.shape, types[name]))",
    "    tensors[-1].set_data_from_numpy(array)",
    `client = triton.InferenceServerClient(${options.join(", ")})`,
    `result = client.infer(${JSON.stringify(made.model)}, tensors${settings})`,
    "for output in result.get_response().outputs:",
    "    print(output.name, result.as_numpy(output.name).tolist())",
  ]);
}
