// A run on the disk: Protocol/training.md, "A run's folder". Whatever a killed peer leaves behind here can be gone on from.

import Foundation
import ModelFiles
import Primitives
import Storage
import Training

package struct TrainingFolder: Sendable {
    package let path: String

    var orderPath: String { "\(path)/order.json" }
    var rowsPath: String { "\(path)/rows" }
    var evaluationPath: String { "\(path)/eval" }
    var eventsPath: String { "\(path)/events.jsonl" }
    var checkpointPath: String { "\(path)/checkpoint" }
    var statePath: String { "\(path)/state.json" }
    var adapterPath: String { "\(path)/adapter" }
    private var initialPath: String { "\(path)/init" }

    init(path: String) { self.path = path }

    /// Makes the folder whole or not at all.
    static func make(
        at path: String, order: TrainingOrder, rows: [UInt8], evaluation: [UInt8]?,
        initial: [(name: String, bytes: [UInt8])]
    ) throws(HomeFault) -> TrainingFolder {
        let partial = TrainingFolder(path: "\(path).partial")
        try? FileManager.default.removeItem(atPath: partial.path)
        try makeFolder(initial.isEmpty ? partial.path : partial.initialPath)
        try Home.writeNew(order.json.serialized(), to: partial.orderPath)
        try Home.writeNew(rows, to: partial.rowsPath)
        if let evaluation { try Home.writeNew(evaluation, to: partial.evaluationPath) }
        for file in initial { try Home.writeNew(file.bytes, to: "\(partial.initialPath)/\(file.name)") }
        try? FileManager.default.removeItem(atPath: path)
        try Home.move(partial.path, to: path)
        return TrainingFolder(path: path)
    }

    static func makeFolder(_ path: String) throws(HomeFault) {
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch {
            throw .cannotMake(path: path, reason: error.localizedDescription)
        }
    }

    func bytes(_ path: String) -> [UInt8]? { FileManager.default.contents(atPath: path).map { [UInt8]($0) } }

    var order: TrainingOrder? {
        bytes(orderPath).flatMap { try? JSONValue.parse($0) }.flatMap { TrainingOrder($0) }
    }

    /// The adapter that the run goes on from.
    var initial: MemoryFolder? {
        var files: [String: [UInt8]] = [:]
        for name in [PEFTFolder.configName, PEFTFolder.weightsName] {
            guard let bytes = bytes("\(initialPath)/\(name)") else { return nil }
            files[name] = bytes
        }
        return MemoryFolder(files)
    }

    var initialWeights: [UInt8]? { bytes("\(initialPath)/\(PEFTFolder.weightsName)") }

    /// What people decided, or how it ended; a run without one goes on.
    var state: (state: TrainingState, reason: String?)? {
        guard let json = bytes(statePath).flatMap({ try? JSONValue.parse($0) }),
            let state = json["state"]?.text.flatMap(TrainingState.init)
        else { return nil }
        return (state, json["reason"]?.text)
    }

    func keep(_ state: TrainingState, reason: String? = nil) throws(HomeFault) {
        guard state != .running, state != .waiting else {
            unlink(statePath)
            return
        }
        try Home.writeWhole(
            JSONValue.object(["state": .string(state.rawValue), "reason": .text(reason)]).serialized(), to: statePath)
    }

    // MARK: Events

    /// Takes back what was said of steps after `step`: they are computed, and said, again.
    func truncateEvents(after step: Int) throws(HomeFault) {
        guard let bytes = bytes(eventsPath) else { return }
        var kept: [UInt8] = []
        for line in bytes.split(separator: 0x0a) {
            guard let event = try? JSONValue.parse(Array(line)), (event["step"]?.integer ?? 0) <= step,
                event["event"]?.text != "done"
            else { break }
            kept += line + [0x0a]
        }
        try Home.writeWhole(kept, to: eventsPath)
    }

    /// One line; it is on its way to the disk when this returns, and a checkpoint does not depend on it.
    func append(_ event: JSONValue) throws(HomeFault) {
        let descriptor = open(eventsPath, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else {
            throw .cannotMake(path: eventsPath, reason: String(cString: strerror(errno)))
        }
        defer { close(descriptor) }
        let line = event.serialized() + [0x0a]
        guard Foundation.write(descriptor, line, line.count) == line.count else {
            throw .cannotMake(path: eventsPath, reason: String(cString: strerror(errno)))
        }
    }
}
