// The same measurement of py-libp2p, in the same run: Tests/Interop/bench_peer.py, run by the Python that
// OPENLEDGER_INTEROP_PYTHON names. It prints one JSON object, which is handed on as it is.

import Foundation
import Primitives

enum Rival {
    static let variable = "OPENLEDGER_INTEROP_PYTHON"
    private static let script = "Tests/Interop/bench_peer.py"

    /// - Returns: null where no Python is named; `{"error": …}` where the rival fails, so that our own figures stand.
    /// - Throws: where a Python is named that cannot be used.
    static func run(_ arguments: [String], secondsMax: Double) async throws -> JSONValue {
        let environment = ProcessInfo.processInfo.environment
        guard let python = environment[variable], !python.isEmpty else { return .null }
        guard FileManager.default.isExecutableFile(atPath: python) else {
            throw BenchmarkFault.setUp(
                "\(variable) names \(python), which is no program; "
                    + "Bootstrap/python-environment interop makes one and prints its path")
        }
        guard let path = find(script) else {
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

    private static func fault(_ reason: String) -> JSONValue {
        .object(["name": .string("py-libp2p"), "error": .string(reason)])
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
