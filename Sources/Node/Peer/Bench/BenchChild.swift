// A child process of a benchmark. Its stdin is a pipe of ours: however this process ends, the pipe closes and a child
// that heeds it ends too. What it prints goes to files, so that it never waits for us to read.

import Foundation
import Primitives

final class BenchChild {
    private static let wordsMax = 400

    private let process = Process()
    private let input = Pipe()
    private let folder: String
    /// Since just before the process was made.
    let watch: Stopwatch

    var processID: Int32 { process.processIdentifier }
    var isRunning: Bool { process.isRunning }

    /// - Throws: `BenchmarkFault.setUp` where the program does not start.
    init(_ program: String, _ arguments: [String], environment: [String: String]) throws {
        folder = try BenchFolder.make()
        let output = "\(folder)/stdout"
        let errors = "\(folder)/stderr"
        do {
            for path in [output, errors] where !FileManager.default.createFile(atPath: path, contents: nil) {
                throw BenchmarkFault.setUp("\(path) cannot be written; TMPDIR names another folder")
            }
            process.executableURL = URL(fileURLWithPath: program)
            process.arguments = arguments
            process.environment = environment
            process.standardInput = input
            process.standardOutput = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
            process.standardError = try FileHandle(forWritingTo: URL(fileURLWithPath: errors))
            watch = Stopwatch()
            try process.run()
        } catch {
            BenchFolder.remove(folder)
            throw error is BenchmarkFault ? error : BenchmarkFault.setUp("\(program) does not start: \(error)")
        }
    }

    /// Whole lines of its stdout so far.
    var lines: [String] {
        let text = String(decoding: FileManager.default.contents(atPath: "\(folder)/stdout") ?? Data(), as: UTF8.self)
        let end = text.lastIndex(of: "\n") ?? text.startIndex
        return text[..<end].split(separator: "\n").map(String.init)
    }

    /// The end of what it complained.
    var lastWords: String {
        let text = String(decoding: FileManager.default.contents(atPath: "\(folder)/stderr") ?? Data(), as: UTF8.self)
        let words = text.split(separator: "\n").suffix(3).joined(separator: "; ")
        return words.isEmpty ? "it ended without a word" : String(words.suffix(Self.wordsMax))
    }

    /// SIGTERM, then SIGKILL for one that does not end in time. Blocks; calling it again does nothing.
    /// - Returns: seconds that the end took; nil where it had to be killed or had ended before.
    @discardableResult
    func stop(within seconds: Double) -> Double? {
        defer { BenchFolder.remove(folder) }
        guard process.isRunning else { return nil }
        let watch = Stopwatch()
        process.terminate()
        while process.isRunning, watch.seconds < seconds { Thread.sleep(forTimeInterval: 0.002) }
        if process.isRunning {
            kill(process.processIdentifier, SIGKILL)
            process.waitUntilExit()
            return nil
        }
        return watch.seconds
    }
}

/// Folders that a benchmark makes and removes.
enum BenchFolder {
    static func make() throws -> String {
        let name = "openledger-bench-\(getpid())-\(Hex.encode(Home.randomBytes(4)))"
        let path = URL(fileURLWithPath: NSTemporaryDirectory()).appendingPathComponent(name).path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw BenchmarkFault.setUp(
                "\(path) cannot be made: \(error.localizedDescription); set TMPDIR to a folder of yours")
        }
        return path
    }

    static func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}
