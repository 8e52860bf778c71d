// adapter train, adapter runs and adapter eval.

import ArgumentParser
import Foundation
import Primitives

extension AdapterCommand {
    struct Train: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Fine-tune a LoRA adapter on a datanet or a file of rows.",
            discussion: """
                Rows are JSON lines: "prompt" and "completion", or "text", or "input_ids" and "labels" (-100 is not
                scored). The run belongs to the peer: it goes on when this command ends, and when the peer was killed.
                The same command again joins it. --estimate says what it would take, and what is wrong, and starts nothing.

                EXAMPLE
                  openledger adapter train --model starter --name food --datanet food --epochs 2 --eval-nth 10 --estimate
                  openledger adapter train --model starter --name food --datanet food --epochs 2 --eval-rows held.jsonl
                """)
        @OptionGroup var global: GlobalOptions
        @Option(help: "The base model.") var model: String
        @Option(help: "The new adapter's name.") var name: String
        @Option(help: "A datanet that this peer holds.") var datanet: String?
        @Option(help: ArgumentHelp("A file of rows.", valueName: "FILE.jsonl")) var rows: String?
        @Option(help: ArgumentHelp("Rows to evaluate on.", valueName: "FILE.jsonl")) var evalRows: String?
        @Option(help: "Keep every so manieth row to evaluate on, instead of a file.") var evalNth: Int?
        @Option(help: "Steps between evaluations (default: before and after).") var evalEvery: Int?
        @Option(help: "Rank of the factors (default: 8).") var rank: Int?
        @Option(help: "Their scale times the rank (default: twice the rank).") var alpha: Double?
        @Flag(help: "Scale by alpha / sqrt(rank).") var rslora = false
        @Option(help: "Passes over the rows (default: 1).") var epochs: Double?
        @Option(help: "Steps, instead of passes.") var steps: Int?
        @Option(help: "Rows of a step (default: 8).") var batch: Int?
        @Option(help: "Learning rate (default: 0.001).") var lr: Double?
        @Option(help: "constant (default) or cosine.") var schedule: String?
        @Option(help: "Steps over which the learning rate rises (default: 0).") var warmup: Int?
        @Option(help: "Decoupled weight decay (default: 0.01).") var weightDecay: Double?
        @Option(help: ArgumentHelp("AdamW's (default: 0.9,0.999).", valueName: "B1,B2")) var betas: String?
        @Option(help: "AdamW's (default: 1e-8).") var eps: Double?
        @Option(help: "The greatest norm of a gradient (default: any).") var clip: Double?
        @Option(help: "Of the order of rows and of a new adapter (default: 0).") var seed: Int?
        @Flag(help: "Take the rows in their order.") var noShuffle = false
        @Option(help: ArgumentHelp("An adapter to go on from.", valueName: "PEFT_DIR")) var `init`: String?
        @Option(help: ArgumentHelp("Write the adapter there too.", valueName: "PEFT_DIR")) var out: String?
        @Option(help: "Of the frozen base: f32 (default), bf16, int8 or int4.") var precision: String?
        @Flag(inversion: .prefixedNo, help: "Tell the network of the adapter when it is done; later: adapter publish.")
        var publish = true
        @Flag(help: "Say what it would take and start nothing.") var estimate = false
        @Flag(help: "Start it and do not wait; follow it with: adapter runs RUN --follow.") var detach = false

        private func body() throws -> JSONValue {
            var members = [JSONMember("model", .string(model)), JSONMember("name", .string(name))]
            func add(_ key: String, _ value: JSONValue?) { if let value { members.append(JSONMember(key, value)) } }
            add("datanet", datanet.map { .string($0) })
            for (key, path) in [("rows", rows), ("eval_rows", evalRows), ("init", `init`), ("out", out)] {
                add(key, path.map { .string(absolutePath($0)) })
            }
            for (key, value) in [
                ("eval_nth", evalNth), ("eval_every", evalEvery), ("rank", rank), ("steps", steps), ("batch", batch),
                ("warmup", warmup),
                ("seed", seed),
            ] { add(key, value.map { .integer($0) }) }
            for (key, value) in [
                ("alpha", alpha), ("epochs", epochs), ("lr", lr), ("weight_decay", weightDecay), ("eps", eps),
                ("clip", clip),
            ] { add(key, value.map { .double($0) }) }
            add("schedule", schedule.map { .string($0) })
            add("precision", precision.map { .string($0) })
            add("rslora", rslora ? .bool(true) : nil)
            add("shuffle", noShuffle ? .bool(false) : nil)
            add("publish", publish ? nil : .bool(false))
            if let betas {
                let numbers = betas.split(separator: ",").map { Double($0.trimmingCharacters(in: .whitespaces)) }
                guard numbers.count == 2, let first = numbers[0], let second = numbers[1] else {
                    throw CommandFault(.usage, "--betas has two numbers, as in 0.9,0.999")
                }
                add("betas", .array([.double(first), .double(second)]))
            }
            return .members(members)
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            if estimate {
                let value = try await node.post("trainings/estimate", try body())
                output.result(value) { TrainingLine.estimate(value) }
                if value["valid"]?.flag != true { throw Ending(status: .refused) }
                return
            }
            if detach {
                let wanted = JSONValue.members((try body().memberList ?? []) + [JSONMember("follow", .bool(false))])
                let run = try await node.post("trainings", wanted)
                return output.result(run) { "run \(run.shown("run")) is \(run.shown("state"))" }
            }
            try await node.stream("trainings", try body()) { event in
                output.event(event) { TrainingLine.text(event) }
            }
        }
    }

    struct Runs: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "List training runs, or follow, pause, resume or cancel one.",
            discussion: "EXAMPLE\n  openledger adapter runs\n  openledger adapter runs 5f3c… --follow")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "A run.") var run: String?
        @Flag(help: "Tell what it has said and says.") var follow = false
        @Flag(help: "End it after its step; it can be gone on with.") var pause = false
        @Flag(help: "Go on with a paused one.") var resume = false
        @Flag(help: "End it for good.") var cancel = false

        func validate() throws {
            let wishes = [follow, pause, resume, cancel].count { $0 }
            guard wishes <= 1, wishes == 0 || run != nil else {
                throw ValidationError("--follow, --pause, --resume and --cancel take one run, and not each other.")
            }
        }

        func perform(_ node: APIClient, _ output: Output) async throws {
            guard let run else {
                let value = try await node.get("trainings")
                return output.result(value) {
                    var table = Table("RUN", "NAME", "MODEL", "STATE", "STEP", "STEPS", "LOSS")
                    for one in value.list("runs") {
                        table.add(
                            one.shown("run"), one.shown("name"), one.shown("model"), one.shown("state"),
                            one.shown("step"), one.shown("steps"), one.shown("loss"))
                    }
                    return table.text
                }
            }
            if follow {
                return try await node.rows(APIClient.path("trainings", run, "events")) { bytes in
                    let event = try JSONValue.parse(bytes)
                    if event["event"]?.text == "error" {
                        throw CommandFault(api: event["error"] ?? .null, requestID: nil)
                    }
                    output.event(event) { TrainingLine.text(event) }
                }
            }
            let action = pause ? "pause" : resume ? "resume" : cancel ? "cancel" : nil
            let value =
                if let action {
                    try await node.post(APIClient.path("trainings", run, action))
                } else {
                    try await node.get(APIClient.path("trainings", run))
                }
            output.result(value) {
                "\(value.shown("name")): \(value.shown("state")), step \(value.shown("step")) of \(value.shown("steps"))"
                    + (value["reason"]?.text.map { "; \($0)" } ?? "") + TrainingLine.figures(value)
            }
        }
    }

    struct Evaluate: NodeCommand {
        static let configuration = CommandConfiguration(
            commandName: "eval", abstract: "Compare an adapter with its base on rows that it was not trained on.",
            discussion: "EXAMPLE\n  openledger adapter eval food --rows held.jsonl --answers 50")
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String
        @Option(help: ArgumentHelp("Held-out rows.", valueName: "FILE.jsonl")) var rows: String
        @Option(help: "Rows whose answers are generated and compared: exact match and ROUGE-L (default: 0).")
        var answers: Int?
        @Option(help: "Of the base: f32 (default), bf16, int8 or int4.") var precision: String?

        func perform(_ node: APIClient, _ output: Output) async throws {
            var members = [JSONMember("rows", .string(absolutePath(rows)))]
            if let answers { members.append(JSONMember("answers", .integer(answers))) }
            if let precision { members.append(JSONMember("precision", .string(precision))) }
            try await node.stream(APIClient.path("adapters", name, "eval"), .members(members)) { event in
                output.event(event) {
                    guard event["event"]?.text == "done" else { return nil }
                    var table = Table("", "LOSS", "PERPLEXITY", "EXACT", "ROUGE-L")
                    for side in ["base", "adapter"] {
                        let one = event[side] ?? .null
                        table.add(
                            side, one.shown("loss"), one.shown("perplexity"), one.shown("exact_match"),
                            one.shown("rouge_l"))
                    }
                    let skipped = event["base"]?["answers_skipped"]?.integer ?? 0
                    return table.text
                        + (skipped > 0 ? "\n\(skipped) rows have a prompt that leaves no room for an answer." : "")
                }
            }
        }
    }
}

extension AdapterCommand {
    struct Verify: NodeCommand {
        static let configuration = CommandConfiguration(
            abstract: "Compute again what an adapter's maker signed.",
            discussion: """
                EXAMPLE
                  openledger adapter verify kitchen
                  openledger adapter verify kitchen --retrain

                The weights, the rows and their influence index are held against the manifest that came with the adapter; with \
                --retrain every step is computed again, which ends in the same weights on every computer. A verdict for each \
                check; exit code 4 where one fails.
                """)
        @OptionGroup var global: GlobalOptions
        @Argument(help: "Name or id.") var name: String
        @Option(help: ArgumentHelp("The rows, where they are no datanet's.", valueName: "FILE.jsonl")) var rows: String?
        @Option(name: .customLong("init"), help: ArgumentHelp("The folder it went on from.", valueName: "DIR"))
        var initial: String?
        @Flag(help: "Train it again from the first step.") var retrain = false

        func perform(_ node: APIClient, _ output: Output) async throws {
            var holds = false
            try await node.stream(
                APIClient.path("adapters", name, "verify"),
                .present([
                    "rows": rows.map { .string(absolutePath($0)) }, "init": initial.map { .string(absolutePath($0)) },
                    "retrain": .bool(retrain),
                ])
            ) { event in
                holds = event["holds"]?.flag ?? false
                output.event(event) {
                    switch event["event"]?.text {
                    case "check":
                        let check = event["check"] ?? .null, verdict = check.shown("verdict")
                        return
                            "\(verdict == "fail" ? "FAIL" : verdict)  \(check.shown("name")): \(check.shown("message"))"
                    case "progress": return "\(event.shown("check")): \(event.shown("done")) of \(event.shown("of"))"
                    case "done":
                        return event["holds"]?.flag == true
                            ? "\nThe adapter is what its maker signed." : "\nThe adapter is not what its maker signed."
                    default: return nil
                    }
                }
            }
            if !holds { throw Ending(status: .refused) }
        }
    }
}

/// One event of a run as a line.
enum TrainingLine {
    private static func seconds(_ value: JSONValue?) -> String { value?.double.map { "\(oneDecimal($0)) s" } ?? "-" }

    /// What was foretold and what it took.
    static func figures(_ value: JSONValue) -> String {
        func line(_ name: String, _ figures: JSONValue?) -> String {
            guard let figures, !figures.isNull else { return "" }
            return "\n\(name) \(byteCount(figures["memory_bytes"])) of memory, \(seconds(figures["seconds"]))"
        }
        return line("Foretold", value["predicted"]) + line("Measured", value["actual"])
    }

    static func estimate(_ value: JSONValue) -> String {
        var lines: [String] = []
        if value["rows"]?.integer != nil {
            let heldOut = value["eval_rows"]?.integer ?? 0
            lines.append(
                "Rows    \(value.shown("rows")) of \(value.shown("row_tokens")) tokens"
                    + (heldOut > 0 ? ", and \(heldOut) held out" : ""))
        }
        if value["memory_bytes"]?.integer != nil {
            lines.append("Steps   \(value.shown("steps")), \(value.shown("parameters")) parameters")
            let left = value["memory_left_bytes"].flatMap { $0.isNull ? nil : ", \(byteCount($0)) are free" } ?? ""
            lines.append("Memory  \(byteCount(value["memory_bytes"]))\(left)")
        }
        if value["seconds"]?.double != nil {
            let basis =
                value["measured"]?.flag == true
                ? "as it was measured here" : "a guess: this base was not timed here yet"
            lines.append("Time    \(seconds(value["seconds"])), \(basis)")
        }
        lines.append("Price   \(value.shown("price")) OPEN")
        lines += value.list("warnings").map { "note: \($0.shown("message"))" }
        lines += value.list("row_faults").map { "fault: \($0.shown("message"))" }
        lines += value.list("faults").map {
            "fault: \($0["param"]?.text.map { "\($0): " } ?? "")\($0.shown("message"))"
        }
        return lines.joined(separator: "\n")
    }

    static func text(_ event: JSONValue) -> String? {
        switch event["event"]?.text {
        case "start":
            return "\(event.shown("rows")) rows, \(event.shown("steps")) steps of \(event.shown("batch")); run "
                + "\(event.shown("run")), \(byteCount(event["memory_bytes"])) of memory"
        case "step":
            return
                "step \(event.shown("step"))  loss \(event.shown("loss"))  \(event.shown("tokens_per_second")) tokens/s"
        case "evaluation":
            return "step \(event.shown("step"))  held-out loss \(event.shown("eval_loss"))  perplexity "
                + event.shown("perplexity")
        case "influence":
            return event["reason"]?.text
                ?? "influence of \(event.shown("rows_done")) of \(event.shown("rows")) rows after \(event.shown("seconds")) s"
        case "done":
            if event["state"] != nil {
                return "the run is \(event.shown("state"))" + (event["reason"]?.text.map { ": \($0)" } ?? "")
            }
            return
                "\(event.shown("name")) is trained: loss \(event.shown("loss")), held out \(event.shown("eval_loss")) "
                + "(base \(event.shown("base_eval_loss"))), id \(event.shown("id"))"
        default: return nil
        }
    }
}
