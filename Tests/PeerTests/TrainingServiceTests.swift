// Trainings as the API has them, on a peer of its own.

import Foundation
import Gateway
import Logging
import Primitives
import Testing

@testable import Peer

@Suite(.serialized) struct TrainingServiceTests {
    private static func rows(_ home: String) throws -> String {
        let path = "\(home)/rows.jsonl"
        let lines = (0..<6).map { #"{"prompt":"What is \#($0)?","completion":"The number \#($0)."}"# }
        try Data(lines.joined(separator: "\n").utf8).write(to: URL(filePath: path))
        return path
    }

    private static func with(_ body: (PeerService, String) async throws -> Void) async throws {
        let home = "\(FileManager.default.temporaryDirectory.path)/olt-\(UInt32.random(in: 0 ... .max))"
        defer { try? FileManager.default.removeItem(atPath: home) }
        var options = PeerOptions(home: home, environment: [:])
        options.starterPath = Starter.folder
        options.flags = ["listen": "/ip4/127.0.0.1/tcp/0", "http": "127.0.0.1:0"]
        let peer = try await RunningPeer.start(
            options, logger: Logger(label: "training") { _ in SwiftLogNoOpLogHandler() })
        do {
            try await body(PeerService(peer: peer), home)
        } catch {
            await peer.stop()
            throw error
        }
        await peer.stop()
    }

    private static func lines(_ service: PeerService, _ call: NodeStreamCall) async throws -> [JSONValue] {
        var lines: [JSONValue] = []
        for try await line in try await service.stream(call) { lines.append(line) }
        return lines
    }

    private static func until(
        _ service: PeerService, _ id: String, _ isReached: (JSONValue) -> Bool
    ) async throws -> JSONValue {
        for _ in 0..<3000 {
            let run = try await service.perform(.training(id))
            if isReached(run) { return run }
            try await Task.sleep(for: .milliseconds(10))
        }
        throw NodeFault(.timeout, "the run does not get there", code: "test")
    }

    @Test func aRunIsStartedFollowedAndDecided() async throws {
        try await Self.with { service, home in
            var wanted = TrainingDescription(name: "kitchen", model: "starter")
            wanted.rows = try Self.rows(home)
            wanted.evaluationRows = wanted.rows
            (wanted.rank, wanted.batch, wanted.steps) = (2, 2, 4)
            let told = try await Self.lines(service, .train(wanted))
            #expect(
                told.compactMap { $0["event"]?.text } == [
                    "start", "step", "step", "step", "step", "evaluation", "influence", "done",
                ])
            let done = try #require(told.last), id = try #require(done["run"]?.text)
            #expect(done["adapter"]?["name"]?.text == "kitchen" && done["adapter"]?["rank"]?.integer == 2)
            #expect(try await service.perform(.adapter("kitchen"))["id"] == done["id"])

            let all = try await service.perform(.trainings)["runs"]?.items ?? []
            let one = try await service.perform(.training(id))
            #expect(all == [one])
            #expect(one["state"]?.text == "done" && one["step"]?.integer == 4 && one["steps"]?.integer == 4)
            #expect(one["settings"]?["rank"]?.text == "2" && one["reason"]?.isNull == true)
            let again = try await Self.lines(service, .trainingEvents(id))
            #expect(again.map { $0["event"] } == told.map { $0["event"] })
            for action in TrainingAction.allCases {
                let fault = await Self.fault { try await service.perform(.changeTraining(id, action)) }
                #expect(fault?.code == "over")
            }

            // One that would go on for ever.
            var long = wanted
            (long.name, long.steps, long.evaluationRows) = ("long", 1_000_000, nil)
            let stream = try await service.stream(.train(long))
            var first: JSONValue?
            for try await line in stream {
                first = line
                break
            }
            let other = try #require(first?["run"]?.text)
            _ = try await service.perform(.changeTraining(other, .pause))
            let paused = try await Self.until(service, other) { $0["state"]?.text == "paused" }
            let last = try #require(try await Self.lines(service, .trainingEvents(other)).last)
            #expect(last["event"]?.text == "done" && last["state"]?.text == "paused")
            _ = try await service.perform(.changeTraining(other, .resume))
            _ = try await Self.until(service, other) { ($0["step"]?.integer ?? 0) > (paused["step"]?.integer ?? 0) }
            _ = try await service.perform(.changeTraining(other, .cancel))
            _ = try await Self.until(service, other) { $0["state"]?.text == "cancelled" }
            #expect(try await service.perform(.trainings)["runs"]?.items?.count == 2)

            // Held out of what it was trained on; a prompt that fills the context is skipped and counted.
            let held = "\(home)/held.jsonl"
            let filling = String(repeating: "again and ", count: 1200)
            try Data(
                (#"{"prompt":"\#(filling)","completion":"x"}"# + "\n" + #"{"prompt":"What is 1?","completion":"One."}"#)
                    .utf8
            ).write(to: URL(filePath: held))
            let evaluated = try await Self.lines(
                service,
                .evaluateAdapter(EvaluationDescription(adapter: "kitchen", rows: held, answers: 2, precision: nil)))
            #expect(evaluated.last?["adapter"]?["answers"]?.integer == 1)
            #expect(evaluated.last?["adapter"]?["answers_skipped"]?.integer == 1)
        }
    }

    @Test func badInputIsNamed() async throws {
        try await Self.with { service, home in
            var wanted = TrainingDescription(name: "kitchen", model: "starter")
            wanted.rows = try Self.rows(home)
            func fault(_ change: (inout TrainingDescription) -> Void) async -> NodeFault? {
                var other = wanted
                change(&other)
                let changed = other
                return await Self.fault { try await Self.lines(service, .train(changed)).last ?? .null }
            }
            #expect(await fault { $0.model = "nobody" }?.code == "model_not_found")
            #expect(await fault { $0.rows = "\(home)/nothing" }?.param == "rows")
            #expect(await fault { $0.evaluationRows = "\(home)/nothing" }?.param == "eval_rows")
            #expect(await fault { $0.initial = home }?.param == "init")
            #expect(await fault { $0.precision = "int3" }?.param == "precision")
            #expect(await fault { $0.schedule = "linear" }?.param == "schedule")
            #expect(await fault { $0.name = "a b" }?.param == "name")
            #expect(
                await fault {
                    $0.rows = nil
                    $0.datanet = "nobody"
                } != nil)
            #expect(await Self.fault { try await service.perform(.training("5f3c")) }?.code == "run_not_found")
            for action in TrainingAction.allCases {
                let fault = await Self.fault { try await service.perform(.changeTraining("5f3c", action)) }
                #expect(fault?.code == "run_not_found")
            }
            #expect(
                await Self.fault { try await Self.lines(service, .trainingEvents("5f3c")).last ?? .null }?.code
                    == "run_not_found")
            // A row with a fault fails the run, and the stream says which.
            try Data("{\"prompt\":\"a\"}\n".utf8).write(to: URL(filePath: try #require(wanted.rows)))
            let faulty = await fault { _ in }
            #expect(faulty?.code == "training_failed" && faulty?.message.contains("rows:1") == true)
            #expect(try await service.perform(.trainings)["runs"]?.items?.count == 1)
        }
    }

    private static func fault(_ body: () async throws -> JSONValue) async -> NodeFault? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? NodeFault
        }
    }
}
