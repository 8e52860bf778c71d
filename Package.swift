// swift-tools-version: 6.2
// openledger: one package, seven districts. The table below is the house of ARCHITECTURE.md; Bootstrap/check-layers
// reads it through `swift package dump-package` and fails on an import that goes up.

import PackageDescription

let strict = Context.environment["OPENLEDGER_STRICT"] == "1"
// One release build serves the tests and the program: our own modules, and no others, are made testable for it.
let testable = Context.environment["OPENLEDGER_TESTABLE"] == "1"

let settings: [SwiftSetting] =
    [
        .swiftLanguageMode(.v6),
        .enableUpcomingFeature("ExistentialAny"),
        .enableUpcomingFeature("MemberImportVisibility"),
        .enableUpcomingFeature("InternalImportsByDefault"),
        .enableExperimentalFeature("Lifetimes"),
    ] + (strict ? [.treatAllWarnings(as: .error)] : []) + (testable ? [.unsafeFlags(["-enable-testing"])] : [])

func core(_ name: String, _ district: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, path: "Sources/\(district)/\(name)", swiftSettings: settings)
}

func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: dependencies, path: "Tests/\(name)Tests", swiftSettings: settings)
}

let crypto = Target.Dependency.product(name: "Crypto", package: "swift-crypto")
let protobuf = Target.Dependency.product(name: "SwiftProtobuf", package: "swift-protobuf")
let arguments = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let hummingbird = Target.Dependency.product(name: "Hummingbird", package: "hummingbird")
let httpClient = Target.Dependency.product(name: "AsyncHTTPClient", package: "async-http-client")
let toml = Target.Dependency.product(name: "TOMLKit", package: "TOMLKit")

var targets: [Target] = [
    // Base
    .systemLibrary(
        name: "CSodium", path: "Sources/Base/CSodium", pkgConfig: "libsodium",
        providers: [.apt(["libsodium-dev"]), .brew(["libsodium"])]),
    .systemLibrary(
        name: "CLMDB", path: "Sources/Base/CLMDB", pkgConfig: "lmdb",
        providers: [.apt(["liblmdb-dev"]), .brew(["lmdb"])]),
    .systemLibrary(
        name: "CUV", path: "Sources/Base/CUV", pkgConfig: "libuv",
        providers: [.apt(["libuv1-dev"]), .brew(["libuv"])]),
    .systemLibrary(
        name: "CDivSufSort", path: "Sources/Base/CDivSufSort", pkgConfig: "libdivsufsort",
        providers: [.apt(["libdivsufsort-dev"]), .brew(["libdivsufsort"])]),
    core("Primitives", "Base", ["CSodium", crypto]),
    core("Records", "Base", ["Primitives"]),
    core("Messages", "Base", [protobuf]),

    // Network
    core("Wire", "Network", ["Primitives", "Records", "Messages", "CSodium", protobuf]),
    core("Gossip", "Network", ["Primitives", "Records", "Messages", protobuf]),
    core("BlockExchange", "Network", ["Primitives", "Records", "Messages", protobuf]),

    // Models
    .target(
        name: "Kernels", path: "Sources/Models/Kernels",
        cSettings: [.define("NDEBUG")], linkerSettings: [.linkedLibrary("m")]),
    .target(name: "EvidenceKernels", path: "Sources/Models/EvidenceKernels", cSettings: [.define("NDEBUG")]),
    .target(
        name: "GradientKernels", dependencies: ["Kernels"], path: "Sources/Models/GradientKernels",
        cSettings: [.define("NDEBUG")]),
    core("Arithmetic", "Models", ["Kernels"]),
    core("ModelFiles", "Models", ["Kernels", "Primitives"]),
    core("Tokenizers", "Models", ["ModelFiles", "Primitives"]),
    core("Decoding", "Models", ["Kernels", "Arithmetic", "Tokenizers", "Primitives"]),
    core(
        "Inference", "Models",
        ["Decoding", "Tokenizers", "ModelFiles", "Arithmetic", "Kernels", "Primitives", "Records"]),
    core("Datanets", "Models", ["Primitives", "Records"]),
    core(
        "Attribution", "Models",
        ["Decoding", "Datanets", "EvidenceKernels", "CDivSufSort", "Primitives", "Records"]),
    core(
        "Training", "Models",
        [
            "Inference", "Tokenizers", "ModelFiles", "Arithmetic", "Datanets", "Attribution", "GradientKernels",
            "Kernels", "Primitives", "Records",
        ]),

    // Chain
    core("Ledger", "Chain", ["Primitives", "Records"]),
    core("Sequencing", "Chain", ["Ledger", "Primitives", "Records"]),
    core("LightClient", "Chain", ["Ledger", "Primitives"]),

    // Adapters
    core("Storage", "Adapters", ["CLMDB", "Primitives", "Records", logging]),
    core("Transport", "Adapters", ["CUV", "Wire", "Primitives", "Records", logging]),
    .target(
        name: "Gateway", dependencies: ["Primitives", hummingbird, logging, metrics], path: "Sources/Adapters/Gateway",
        resources: [.embedInCode("Web")], swiftSettings: settings),

    // Node
    core(
        "NodeCore", "Node",
        [
            "Gossip", "BlockExchange", "Datanets", "Ledger", "Sequencing", "LightClient", "Messages", "Records",
            "Primitives", protobuf,
        ]),
    core(
        "Simulation", "Node",
        ["NodeCore", "Gossip", "BlockExchange", "Datanets", "Ledger", "Sequencing", "Records", "Primitives"]),
    core(
        "Peer", "Node",
        [
            "NodeCore", "Storage", "Transport", "Gateway", "Inference", "Decoding", "Tokenizers", "ModelFiles",
            "Arithmetic", "Attribution", "Training", "Datanets", "Gossip",
            "BlockExchange", "Ledger", "Sequencing", "LightClient", "Wire", "Records", "Primitives", logging, metrics,
            toml,
        ]),

    // Command
    .executableTarget(
        name: "openledger",
        dependencies: [
            "Peer", "Simulation", "Gateway", "NodeCore", "LightClient", "Ledger", "Records", "Primitives", arguments,
            httpClient, logging,
        ],
        path: "Sources/Command/openledger", swiftSettings: settings),

    tests("Primitives", ["Primitives", "CSodium"]),
    tests("Records", ["Records", "Primitives"]),
    tests("Wire", ["Wire", "Primitives", "Messages", protobuf]),
    tests("Transport", ["Transport", "Wire", "Primitives"]),
    tests("Gossip", ["Gossip", "Primitives", "Messages", protobuf]),
    tests("BlockExchange", ["BlockExchange", "Primitives", "Messages", protobuf]),
    tests("ModelFiles", ["ModelFiles", "Kernels", "Primitives"]),
    tests("Tokenizers", ["Tokenizers", "ModelFiles", "Primitives"]),
    tests("Decoding", ["Decoding", "Tokenizers", "ModelFiles", "Arithmetic", "Kernels", "Primitives"]),
    // What tests of more than one target read.
    .target(
        name: "ModelFixtures", dependencies: ["ModelFiles", "Primitives"], path: "Tests/ModelFixtures",
        swiftSettings: settings),
    tests(
        "Inference",
        [
            "ModelFixtures", "Inference", "Decoding", "Tokenizers", "ModelFiles", "Arithmetic", "Kernels", "Records",
            "Primitives",
        ]),
    tests("Datanets", ["Datanets", "Records", "Primitives"]),
    tests(
        "Attribution", ["Attribution", "Decoding", "Datanets", "EvidenceKernels", "Ledger", "Records", "Primitives"]),
    tests(
        "Training",
        [
            "ModelFixtures", "Training", "Inference", "Tokenizers", "ModelFiles", "Arithmetic", "Attribution",
            "Datanets", "GradientKernels", "Kernels", "Primitives",
        ]),
    tests("Ledger", ["Ledger", "Records", "Primitives"]),
    tests("Sequencing", ["Sequencing", "Ledger", "Records", "Primitives"]),
    tests("LightClient", ["LightClient", "Ledger", "Records", "Primitives"]),
    tests("Storage", ["Storage", "Primitives", "CLMDB"]),
    tests("Gateway", ["Gateway", "Primitives", hummingbird]),
    tests("NodeCore", ["NodeCore", "Ledger", "Records", "Primitives"]),
    tests("Interop", ["Transport", "Wire", "Gossip", "BlockExchange", "Messages", "Primitives"]),
    tests("Simulation", ["Simulation", "NodeCore", "Primitives"]),
    tests(
        "Peer",
        [
            "Peer", "NodeCore", "Storage", "Gateway", "Inference", "Decoding", "Tokenizers", "ModelFiles",
            "Arithmetic", "Attribution", "Training", "Datanets", "Ledger", "Records", "Primitives", logging,
        ]),
]

// OPENLEDGER_TARGETS=WireTests,StorageTests keeps only those targets and what they need: someone who works on one
// room does not build the house.
if let only = Context.environment["OPENLEDGER_TARGETS"], !only.isEmpty {
    var wanted = Set(only.split(separator: ",").map(String.init))
    var queue = Array(wanted)
    while let name = queue.popLast() {
        for dependency in targets.first(where: { $0.name == name })?.dependencies ?? [] {
            if case .byNameItem(let next, _) = dependency, wanted.insert(next).inserted { queue.append(next) }
        }
    }
    targets.removeAll { !wanted.contains($0.name) }
}

let kept = Set(targets.map(\.name))

let package = Package(
    name: "openledger",
    platforms: [.macOS(.v15)],
    products: [
        .executable(name: "openledger", targets: ["openledger"]),
        .library(name: "LightClient", targets: ["LightClient"]),
    ].filter { $0.name == "openledger" ? kept.contains("openledger") : kept.contains("LightClient") },
    dependencies: [
        .package(url: "https://github.com/apple/swift-crypto.git", from: "4.5.2"),
        .package(url: "https://github.com/apple/swift-protobuf.git", from: "1.39.0"),
        .package(url: "https://github.com/apple/swift-argument-parser.git", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-log.git", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-metrics.git", from: "2.13.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird.git", from: "2.28.1"),
        .package(url: "https://github.com/swift-server/async-http-client.git", from: "1.37.0"),
        .package(url: "https://github.com/LebJe/TOMLKit.git", from: "0.6.0"),
    ],
    targets: targets
)
