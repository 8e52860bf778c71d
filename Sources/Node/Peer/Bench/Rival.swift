// The same measurement of another program, in the same run: a script of Tests/Interop, run by the Python that an
// environment variable names. It prints one JSON object, which is handed on as it is.

import Foundation
import Primitives

struct Rival {
    let name: String
    /// The environment variable that names its Python, and what Bootstrap/python-environment calls the one it needs.
    let variable: String
    let environment: String
    private let script: String

    static let libp2p = Self(
        name: "py-libp2p", variable: "OPENLEDGER_INTEROP_PYTHON", environment: "interop",
        script: "Tests/Interop/bench_peer.py")
    static let llamaCpp = Self(
        name: "llama.cpp", variable: "OPENLEDGER_LLAMACPP_PYTHON", environment: "llamacpp",
        script: "Tests/Interop/bench_llamacpp.py")
    static let llamaCppPerplexity = Self(
        name: "llama.cpp", variable: "OPENLEDGER_LLAMACPP_PYTHON", environment: "llamacpp",
        script: "Tests/Interop/llamacpp_perplexity.py")

    static let peft = Self(
        name: "PEFT", variable: "OPENLEDGER_PEFT_PYTHON", environment: "peft", script: "Tests/Interop/bench_peft.py")

    /// - Returns: null where no Python is named; `{"error": …}` where the rival fails, so that our own figures stand.
    /// - Throws: where a Python is named that cannot be used.
    func run(_ arguments: [String], secondsMax: Double) async throws -> JSONValue {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment[variable], !python.isEmpty else { return .null }
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw BenchmarkFault.setUp(
                "\(variable) names \(python), which is no program; "
                    + "Bootstrap/python-environment \(self.environment) makes one and prints its path")
        }
        guard let path = Self.find(script) else {
            throw BenchmarkFault.setUp(
                "\(variable) is set, but \(script) is not here or above this program; run it in the source tree"
            )
        }
        let child = try BenchChild(python, [path] + arguments, environment: environment)
        defer { child.stop(within: 2) }
        let watch = Stopwatch()
        while child.isRunning {
            guard watch.seconds < secondsMax else { return fault("it took longer than \(Int(secondsMax)) s") }
            try await Task.sleep(for: .milliseconds(50))
        }
        guard let line = child.lines.last(where: { $0.hasPrefix("{") }),
            let value = try? JSONValue.parse(Array(line.utf8))
        else { return fault(child.lastWords) }
        return value
    }

    private func fault(_ reason: String) -> JSONValue {
        .object(["name": .string(name), "error": .string(reason)])
    }

    /// A file of the source tree: under the working folder, or under one that this program lies in.
    private static func find(_ file: String) -> String? {
        var folders = [FileManager.default.currentDirectoryPath]
        if let program = Bundle.main.executablePath {
            var folder = URL(fileURLWithPath: program).resolvingSymlinksInPath().deletingLastPathComponent()
            for _ in 0..<6 {
                folders.append(folder.path)
                folder = folder.deletingLastPathComponent()
            }
        }
        return folders.map { "\($0)/\(file)" }.first { FileManager.default.fileExists(atPath: $0) }
    }
}
