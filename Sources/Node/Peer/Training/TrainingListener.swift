// Reads a run's lines as they are written. A run that goes on after a kill says its last lines again, in a new file and with
// other figures of speed: they are counted, so that nobody hears a line twice or half of one.

import Foundation
import Primitives

actor TrainingListener {
    private let run: TrainingRun
    private let isClosed: @Sendable () -> Bool
    private var file: UInt64?
    private var offset: UInt64 = 0
    /// Lines of the file so far that were told, and those told altogether.
    private var read = 0
    private var told = 0
    private var pending: [JSONValue] = []
    private var isOver = false
    private static let pollMilliseconds = 20

    init(run: TrainingRun, isClosed: @escaping @Sendable () -> Bool) {
        self.run = run
        self.isClosed = isClosed
    }

    func next() async throws -> JSONValue? {
        while true {
            if !pending.isEmpty { return pending.removeFirst() }
            if isOver { return nil }
            // The state first: lines come before it.
            let state = run.state, closes = isClosed()
            try readOn()
            if !pending.isEmpty { continue }
            switch state {
            case .waiting, .running:
                if closes {
                    throw TrainingDeskFault.closed
                }
                try await Task.sleep(for: .milliseconds(Self.pollMilliseconds))
            case .done: isOver = true
            case .paused, .cancelled, .failed:
                isOver = true
                return .object([
                    "event": .string(state == .failed ? "failed" : "done"), "run": .string(run.id),
                    "state": .string(state.rawValue), "reason": .text(run.reason),
                    "steps": .integer(run.progress.step),
                ])
            }
        }
    }

    private var fileNumber: UInt64? {
        let attributes = try? FileManager.default.attributesOfItem(atPath: run.folder.eventsPath)
        return (attributes?[.systemFileNumber] as? NSNumber)?.uint64Value
    }

    private func readOn() throws {
        let number = fileNumber
        guard let number, let handle = FileHandle(forReadingAtPath: run.folder.eventsPath) else { return }
        defer { try? handle.close() }
        // Replaced at this moment: the next look sees which it is.
        guard number == fileNumber else { return }
        let size = try handle.seekToEnd()
        if number != file || size < offset {
            file = number
            offset = 0
            read = 0
        }
        guard size > offset else { return }
        try handle.seek(toOffset: offset)
        let data = try handle.read(upToCount: 1 << 20) ?? Data()
        guard let end = data.lastIndex(of: 0x0a) else { return }
        for line in data[...end].split(separator: 0x0a) {
            read += 1
            guard read > told else { continue }
            told += 1
            pending.append(try JSONValue.parse([UInt8](line)))
        }
        offset += UInt64(data.distance(from: data.startIndex, to: end) + 1)
    }
}
