// A py-libp2p peer as a child process: Tests/Interop/py_peer.py, one JSON object a line on its output, one command a line
// on its input. Needs Foundation only, so that other interop tests can use the same file.

import Foundation
import Synchronization

/// The Python of `Tests/Interop`: `OPENLEDGER_INTEROP_PYTHON`, or the venv that Bootstrap/test makes.
enum InteropPython {
    static let root = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../..").standardizedFileURL

    static let path: String? = {
        let named = ProcessInfo.processInfo.environment["OPENLEDGER_INTEROP_PYTHON"]
        let path = named ?? root.appending(path: ".build/interop-venv/bin/python").path
        if FileManager.default.isExecutableFile(atPath: path) { return path }
        print("\n*** SKIPPED: interop with py-libp2p. \(path) is missing; make it with:")
        print("***   python3 -m venv .build/interop-venv")
        print("***   .build/interop-venv/bin/pip install -r Tests/Interop/requirements.txt\n")
        return nil
    }()
}

final class PythonPeer: Sendable {
    struct Event: Sendable {
        let name: String
        let line: Data

        func value(_ key: String) -> Any? {
            (try? JSONSerialization.jsonObject(with: line) as? [String: Any])?[key]
        }
    }

    struct Timeout: Error, CustomStringConvertible {
        let description: String
    }

    private struct State {
        var events: [Event] = []
        var rest = Data()
        var errors = ""
    }

    private let process: Process
    private let input: Pipe
    private let state = Mutex(State())

    /// Starts `py_peer.py` with `arguments`.
    init(_ arguments: [String]) throws {
        process = Process()
        input = Pipe()
        let output = Pipe()
        let errors = Pipe()
        process.executableURL = URL(filePath: InteropPython.path ?? "/nonexistent")
        process.arguments = [InteropPython.root.appending(path: "Tests/Interop/py_peer.py").path] + arguments
        process.standardInput = input
        process.standardOutput = output
        process.standardError = errors
        output.fileHandleForReading.readabilityHandler = { [weak self] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil } else { self?.read(data) }
        }
        errors.fileHandleForReading.readabilityHandler = { [weak self] handle in
            let data = handle.availableData
            if data.isEmpty { handle.readabilityHandler = nil }
            self?.state.withLock { $0.errors += String(decoding: data, as: UTF8.self) }
        }
        try process.run()
    }

    private func read(_ data: Data) {
        state.withLock { state in
            state.rest.append(data)
            while let end = state.rest.firstIndex(of: 0x0a) {
                let line = Data(state.rest[..<end])
                state.rest = Data(state.rest[state.rest.index(after: end)...])
                let object = try? JSONSerialization.jsonObject(with: line) as? [String: Any]
                if let name = object?["ev"] as? String { state.events.append(Event(name: name, line: line)) }
            }
        }
    }

    /// All events so far of that name.
    func events(_ name: String) -> [Event] { state.withLock { $0.events.filter { $0.name == name } } }

    /// Waits for the `index`-th event of that name.
    func event(_ name: String, _ index: Int = 0, seconds: Int = 20) async throws -> Event {
        for _ in 0..<seconds * 50 {
            let found = events(name)
            if found.count > index { return found[index] }
            try await Task.sleep(for: .milliseconds(20))
        }
        let (seen, errors) = state.withLock { ($0.events.map { String(decoding: $0.line, as: UTF8.self) }, $0.errors) }
        throw Timeout(description: "py_peer never said \(name); it said \(seen) and complained \(errors.suffix(4000))")
    }

    /// One command, such as "connect /ip4/…" or "ping 12D3Koo… 3".
    func tell(_ command: String) throws {
        try input.fileHandleForWriting.write(contentsOf: Data((command + "\n").utf8))
    }

    func stop() {
        try? tell("quit")
        for _ in 0..<50 where process.isRunning { Thread.sleep(forTimeInterval: 0.02) }
        if process.isRunning { process.terminate() }
        process.waitUntilExit()
    }
}
