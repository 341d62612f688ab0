"""JSON that is accepted: json_tensor.cc's ParseJson and RapidJSON's rules behind its flags."""

from math import inf, nan

from tfs_parity.pair import Pair, Refused
from tfs_parity.rest.json_request_pairs import of_code


def _read(case: str, model: str, body: str, answer: object) -> Pair:
    return of_code("ParseJson", model, body, answer, case)


def _refused(case: str, body: str, error: str) -> Pair:
    """Return a pair with a JSON error and its offset."""
    answer = Refused("INVALID_ARGUMENT", begins=f"JSON Parse error: {error}")
    return of_code("ParseJson", "echo_int32", body, answer, case)


def _no_object(case: str, body: str, shown: str) -> Pair:
    answer = Refused("INVALID_ARGUMENT", begins=f"JSON Value: {shown} Is not object")
    return of_code("ParseJson", "echo_int32", body, answer, case)


PAIRS = [
    _no_object("a list", "[1, 2]", "[1, 2]"),
    _no_object("a number", "1", "1"),
    _no_object("a string", '"instances"', '"instances"'),
    _no_object("null", "null", "null"),
    _read("what follows the document", "echo_int32", '{"inputs": [1]} {"inputs": 2', [1]),
    _read("the first of two equal keys", "echo_int32", '{"inputs": [1], "inputs": [2]}', [1]),
    _read("white space", "echo_int32", ' \r\n\t{ "inputs" : [ 1 , 2 ] } ', [1, 2]),
    _read("NaN", "echo_float", '{"inputs": [NaN, -NaN]}', [nan, nan]),
    _read(
        "infinities",
        "echo_double",
        '{"inputs": [Infinity, -Infinity, Inf, -Inf]}',
        [inf, -inf, inf, -inf],
    ),
    _read("exponents", "echo_double", '{"inputs": [1e3, 1E-3, 1.5e+2]}', [1000.0, 0.001, 150.0]),
    _read("a byte order mark", "echo_int32", '\ufeff{"inputs": [1]}', [1]),
    _refused("white space alone", "   ", "The document is empty"),
    _refused("no value", '{"inputs": }', "Invalid value. at offset: 11"),
    _refused("no JSON", "hello", "Invalid value. at offset: 0"),
    _refused("an open list", '{"inputs": [1', "Missing a comma or ']' after an array element."),
    _refused("a comma at the end", '{"inputs": [1,]}', "Invalid value. at offset: 14"),
    _refused("no colon", '{"inputs" [1]}', "Missing a colon after a name of object member."),
    _refused("no name", "{1: 2}", "Missing a name for object member. at offset: 1"),
    _refused(
        "no comma", '{"inputs": [1] "x": 2}', "Missing a comma or '}' after an object member."
    ),
    _refused("an open string", '{"inputs": ["a]}', "Missing a closing quotation mark in string."),
    _refused("an unknown escape", '{"inputs": ["\\x"]}', "Invalid escape character in string."),
    _refused("no fraction", '{"inputs": [1.]}', "Miss fraction part in number."),
    _refused("no exponent", '{"inputs": [1e]}', "Miss exponent in number."),
    _refused("too big", '{"inputs": [1e999]}', "Number too big to be stored in double."),
    _refused("single quotes", "{'inputs': [1]}", "Missing a name for object member."),
    _refused("a comment", '/* none */ {"inputs": [1]}', "Invalid value. at offset: 0"),
    _refused(
        "no hex digit", '{"inputs": ["\\u12x4"]}', "Incorrect hex digit after \\u escape in string."
    ),
    _refused(
        "half a surrogate pair",
        '{"inputs": ["\\ud800"]}',
        "The surrogate pair in string is invalid.",
    ),
    _refused(
        "a line break in a string", '{"inputs": ["a\nb"]}', "Invalid escape character in string."
    ),
    _refused(
        "a comma at the end of an object", '{"inputs": [1],}', "Missing a name for object member."
    ),
    _refused(
        "a leading zero", '{"inputs": [01]}', "Missing a comma or ']' after an array element."
    ),
    _refused("a plus", '{"inputs": [+1]}', "Invalid value."),
    _refused("a leading point", '{"inputs": [.5]}', "Invalid value."),
    _refused(
        "a hexadecimal number",
        '{"inputs": [0x10]}',
        "Missing a comma or ']' after an array element.",
    ),
    _refused("True", '{"inputs": [True]}', "Invalid value."),
    _refused("nan", '{"inputs": [nan]}', "Invalid value."),
    _refused("half of null", '{"inputs": [nul]}', "Invalid value."),
    _refused("an open object", '{"inputs": [1]', "Missing a comma or '}' after an object member."),
    _refused("a key alone", '{"inputs"', "Missing a colon after a name of object member."),
    _refused("a key and a colon", '{"inputs":', "Invalid value."),
    _refused("an open bracket", '{"inputs": [', "Invalid value."),
    _refused("an open brace", "{", "Missing a name for object member."),
    _refused("a closing bracket too many", '{"inputs": ]', "Invalid value."),
    _refused("another bracket", '{"inputs": [1}', "Missing a comma or ']' after an array element."),
    _read("minus zero, an integer", "echo_float", '{"inputs": [-0]}', [0.0]),
    _read("minus zero, a decimal", "echo_float", '{"inputs": [-0.0]}', [-0.0]),
    _read(
        "an integer that no double is",
        "echo_double",
        '{"inputs": [9007199254740993]}',
        [9007199254740992.0],
    ),
    _read(
        "an integer beyond 64 bits",
        "echo_double",
        '{"inputs": [18446744073709551616]}',
        [1.8446744073709552e19],
    ),
    _read(
        "a value after a deep one",
        "echo_int32",
        '{"x": ' + "[" * 2000 + "]" * 2000 + ', "inputs": [1]}',
        [1],
    ),
    _read(
        "the first of two equal keys of a row",
        "echo_int32",
        '{"instances": [{"default": 1, "default": 2}]}',
        [1],
    ),
    _read(
        "an empty name of the signature", "echo_int32", '{"signature_name": "", "inputs": [1]}', [1]
    ),
    _read(
        "the first of two names of the signature",
        "echo_int32",
        '{"signature_name": "predict_images", "signature_name": "nope", "inputs": [1]}',
        [1],
    ),
    _read("a solidus", "echo_string", '{"inputs": ["\\/\\b\\f\\r\\t"]}', ["/\b\f\r\t"]),
]
