"""Sets of models: server_core_test.cc, with HandleReloadConfigRequest on a running server."""

from tfs_parity import examples
from tfs_parity.pair import Answer, Deviation, Grpc, Ok, Pair, Refused, Rest, Server

TEST, CODE = "model_servers/server_core_test.cc", "model_servers/server_core.cc"
SERVICE = "model_servers/model_service_impl.cc"
ALL = "model_version_policy { all {} }"


def config(
    name: str = "test_model",
    path: str = "{models}/half_plus_two",
    platform: str = "tensorflow",
    more: str = "",
) -> str:
    """Return the configuration of one model."""
    return f'config {{ name: "{name}" base_path: "{path}" model_platform: "{platform}" {more} }}'


def reload(*configs: str) -> Grpc:
    """Return a request to serve these models and no others."""
    message = f"config {{ model_config_list {{ {' '.join(configs)} }} }}"
    return Grpc(method="HandleReloadConfigRequest", message=message)


def label(name: str, version: int) -> str:
    """Return a label of a model's configuration."""
    return f'version_labels {{ key: "{name}" value: {version} }}'


def _two(*labels: str) -> str:
    """Return the configuration of the model in versions 123 and 124."""
    return config(path="{models}/half_plus_two_2_versions", more=f"{ALL} {' '.join(labels)}")


def _predict(name: str = "test_model", choice: str = "") -> Grpc:
    tensor = 'inputs { key: "x" value { dtype: DT_FLOAT float_val: 2 tensor_shape {} } }'
    spec = f'model_spec {{ name: "{name}" {choice} }}'
    return Grpc(method="Predict", message=f"{spec} {tensor}")


def _answered(version: int, name: str = "test_model", value: float = 3) -> Ok:
    tensor = f"dtype: DT_FLOAT tensor_shape {{}} float_val: {value}"
    served = examples.spec(name, "serving_default", version)
    return Ok(f'{served} outputs {{ key: "y" value {{ {tensor} }} }}')


def _status(name: str = "test_model") -> Grpc:
    return Grpc(method="GetModelStatus", message=examples.spec(name))


def _states(*states: tuple[int, str]) -> Ok:
    entries = (
        f"model_version_status {{ version: {version} state: {state} status {{}} }}"
        for version, state in states
    )
    return Ok(" ".join(entries))


def _pair(
    test: str,
    case: str,
    before: tuple[Grpc, ...],
    request: Grpc | Rest,
    answer: Answer,
    *,
    source: str = TEST,
    eventually: bool = False,
    server: Server = "reloadable",
    deviation: Deviation | None = None,
) -> Pair:
    return Pair(
        source=source,
        test=test,
        case=case,
        before=before,
        request=request,
        answer=answer,
        eventually=eventually,
        server=server,
        deviation=deviation,
    )


def _not_found(request: str) -> Refused:
    return Refused("NOT_FOUND", begins=f"Servable not found for request: {request}")


def _unavailable(version: int) -> Refused:
    return Refused(
        "FAILED_PRECONDITION",
        begins=f"Request to assign label to version {version} of model test_model, which is not "
        "currently available for inference",
    )


USUAL, EMPTY, TWO = reload(config()), reload(), reload(_two())
LABELED = reload(_two(label("A", 123), label("B", 124)))
DONE = Ok("status {}")
RELATIVE = Refused(
    "INVALID_ARGUMENT",
    begins="Expected model test_model to have an absolute path or URI; got base_path()=models",
)
NO_LABEL = Refused("INVALID_ARGUMENT", begins="Unrecognized servable version label: nope")
TWICE = Refused(
    "INVALID_ARGUMENT", begins="Illegal to list model test_model multiple times in config list"
)
BROKEN = Refused(
    "UNKNOWN",
    begins="1 model(s) did not become available: {{{name: broken version: 1} due to error: ",
)
CHANGED = Refused(
    "INVALID_ARGUMENT",
    begins="Illegal to change a model's platform. For model test_model platform was tensorflow "
    "and new platform requested is platform_1",
)
NO_PLATFORM = Refused(
    "INVALID_ARGUMENT",
    begins="Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
    "ModelServerConfig::model_platform, model name is plain",
)
NOT_A_LIST = Refused(
    "INVALID_ARGUMENT",
    begins="ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
    "ModelConfigList is currently supported",
)
HALF_PLUS_THREE = config("three", "{models}/half_plus_three")

WAITS = "ReloadConfigWaitsTillModelsAvailable"
SEVERAL = "MultiplePlatformsWithConfigChange"
VERSIONS = "ModelSpecMultipleVersionsAvailable"
PAIRS = [
    _pair(
        "CreateWaitsTillModelsAvailable", "status", (USUAL,), _status(), _states((123, "AVAILABLE"))
    ),
    _pair(
        "CreateWaitsTillModelsAvailable",
        "version",
        (USUAL,),
        _predict(choice="version { value: 123 }"),
        _answered(123),
    ),
    _pair(WAITS, "the reload", (EMPTY,), USUAL, DONE),
    _pair(WAITS, "the model", (EMPTY, USUAL), _predict(), _answered(123)),
    _pair("ReloadConfigUnloadsModels", "the reload", (USUAL,), EMPTY, DONE),
    _pair(
        "ReloadConfigUnloadsModels",
        "the model",
        (USUAL, EMPTY),
        _predict(),
        _not_found("Latest(test_model)"),
        eventually=True,
    ),
    _pair(
        "ReloadConfigUnloadsModels",
        "status",
        (USUAL, EMPTY),
        _status(),
        _states((123, "END")),
        eventually=True,
    ),
    _pair(
        "ReloadConfigHandlesLoadingAPreviouslyUnloadedModel",
        "",
        (USUAL, EMPTY, USUAL),
        _predict(),
        _answered(123),
    ),
    _pair(
        "ReloadConfigChangeModelBasePath",
        "two versions",
        (USUAL, TWO),
        _predict(),
        _answered(124),
        eventually=True,
    ),
    _pair(
        "ReloadConfigChangeModelBasePath",
        "one version",
        (TWO, USUAL),
        _predict(),
        _answered(123),
        eventually=True,
    ),
    _pair("RelativePathFails", "", (USUAL,), reload(config(path="models/half_plus_two")), RELATIVE),
    _pair(
        "MixedAbsoluteRelativeFails",
        "",
        (USUAL,),
        reload(HALF_PLUS_THREE, config(path="models/half_plus_two")),
        RELATIVE,
    ),
    _pair("AbsolutePathSucceeds", "", (EMPTY,), reload(HALF_PLUS_THREE), DONE),
    _pair("ErroringModel", "", (USUAL,), reload(config("broken", "{models}/broken")), BROKEN),
    _pair(
        "IllegalReconfigurationToCustomConfig",
        "",
        (USUAL,),
        Grpc(
            method="HandleReloadConfigRequest",
            message="config { custom_model_config { } }",
        ),
        NOT_A_LIST,
    ),
    _pair(
        "IllegalConfigModelTypeAndPlatformSet",
        "",
        (USUAL,),
        reload(config("plain", more="model_type: TENSORFLOW")),
        Refused(
            "INVALID_ARGUMENT",
            begins="Illegal setting both ModelServerConfig::model_type (deprecated) and "
            "ModelServerConfig::model_platform, model name is plain",
        ),
    ),
    _pair(
        "DeprecatedModelTypeConfig",
        "",
        (EMPTY,),
        reload(config(platform="", more="model_type: TENSORFLOW")),
        DONE,
    ),
    _pair("DuplicateModelNameInConfig", "", (USUAL,), reload(config(), config()), TWICE),
    _pair(
        "UnknownModelPlatform",
        "",
        (EMPTY,),
        reload(config(platform="not_a_known_platform")),
        Refused(
            "INVALID_ARGUMENT",
            begins="Model test_model requests unsupported platform not_a_known_platform",
        ),
    ),
    _pair(
        SEVERAL,
        "the one that is left out",
        (reload(config("zero"), config("one")), reload(config("one"), HALF_PLUS_THREE)),
        _predict("zero"),
        _not_found("Latest(zero)"),
        eventually=True,
    ),
    _pair(
        SEVERAL,
        "the one that stays",
        (reload(config("zero"), config("one")), reload(config("one"), HALF_PLUS_THREE)),
        _predict("one"),
        _answered(123, "one"),
    ),
    _pair(
        SEVERAL,
        "the new one",
        (reload(config("zero"), config("one")), reload(config("one"), HALF_PLUS_THREE)),
        _predict("three"),
        _answered(123, "three", 4),
    ),
    _pair(
        "IllegalToChangeModelPlatform",
        "",
        (USUAL,),
        reload(config(platform="platform_1")),
        CHANGED,
        deviation=Deviation(
            reason="`tensorflow` and `onnx` are the same here, so a model may change from one to "
            "the other; any other platform is refused as unknown.",
            answer=Refused(
                "INVALID_ARGUMENT",
                begins="Model test_model requests unsupported platform platform_1",
            ),
        ),
    ),
    _pair(VERSIONS, "latest", (TWO,), _predict(), _answered(124), eventually=True),
    _pair(
        VERSIONS,
        "version",
        (TWO,),
        _predict(choice="version { value: 123 }"),
        _answered(123),
        eventually=True,
    ),
    _pair(
        VERSIONS, "label A", (TWO, LABELED), _predict(choice='version_label: "A"'), _answered(123)
    ),
    _pair(
        VERSIONS, "label B", (TWO, LABELED), _predict(choice='version_label: "B"'), _answered(124)
    ),
    _pair(VERSIONS, "no label", (TWO, LABELED), _predict(choice='version_label: "nope"'), NO_LABEL),
    _pair(
        "AssignLabelToUnavailableVersion",
        "",
        (TWO,),
        reload(_two(label("nice try", 777))),
        _unavailable(777),
    ),
    _pair(
        "AssignLabelToUnavailableVersionAllowed",
        "",
        (TWO,),
        reload(_two(label("nice try", 777))),
        DONE,
        server="lenient_labels",
    ),
    _pair(
        "AssignExistingLabelToUnavailableVersionDisallowed",
        "",
        (TWO, LABELED),
        reload(_two(label("A", 777), label("B", 124))),
        _unavailable(777),
        server="lenient_labels",
    ),
    Pair(
        source=CODE,
        test="AddModelsViaModelConfigList",
        case="the models before a reload that fails",
        before=(USUAL,),
        refused_before=reload(config("broken", "{models}/broken")),
        request=_predict(),
        answer=_not_found("Latest(test_model)"),
        eventually=True,
        server="reloadable",
        deviation=Deviation(
            reason="A reload is all or nothing: one that fails changes nothing. TensorFlow Serving "
            "unloads the models that the failed reload leaves out.",
            answer=_answered(123),
        ),
    ),
    _pair(
        "ReloadConfig",
        "a label in one request with its model",
        (EMPTY,),
        reload(_two(label("A", 123))),
        _unavailable(123),
        source=CODE,
        deviation=Deviation(
            reason="Labels are checked after the models of the request are loaded, so that one "
            "request can add a version and its label.",
            answer=DONE,
        ),
    ),
    _pair(
        "GetPlatform",
        "no platform",
        (USUAL,),
        reload(config("plain", platform="")),
        NO_PLATFORM,
        source=CODE,
        deviation=Deviation(
            reason="`model_platform` may be left out: there is one kind of model here.",
            answer=DONE,
        ),
    ),
    _pair(
        "GetModelVersionForLabel",
        "a label of an unknown model",
        (USUAL,),
        _predict("unknown", 'version_label: "nope"'),
        NO_LABEL,
        source=CODE,
    ),
    _pair(
        "ServableRequestFromModelSpec",
        "an unknown version",
        (USUAL,),
        _predict(choice="version { value: 7 }"),
        _not_found("Specific(test_model, 7)"),
        source=CODE,
    ),
    _pair(
        "ServableRequestFromModelSpec",
        "version 0",
        (USUAL,),
        _predict(choice="version { value: 0 }"),
        _not_found("Specific(test_model, 0)"),
        source=CODE,
        deviation=Deviation(
            reason="If a model has no version 0, the number 0 means the latest version: OpenVINO "
            "Model Server's client asks for the latest version this way.",
            answer=_answered(123),
        ),
    ),
    _pair(
        "HandleReloadConfigRequest",
        "no configuration",
        (USUAL,),
        Grpc(method="HandleReloadConfigRequest", message=""),
        NOT_A_LIST,
        source=SERVICE,
    ),
    _pair("HandleReloadConfigRequest", "no model", (EMPTY,), EMPTY, DONE, source=SERVICE),
    _pair(
        "HandleReloadConfigRequest",
        "the same models",
        (USUAL,),
        USUAL,
        DONE,
        source=SERVICE,
    ),
]
