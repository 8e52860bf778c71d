// A thousand adapters on one model: `bench adapters --model bench-q8_0.gguf --adapter peft-0 …`. Requests of 64 tokens in
// and out, eight at a time; which adapter a request wants is drawn by Zipf's law (exponent 1), and the engine keeps as
// many as 256 MiB hold. The files are read again for every load, in the background, as the peer does it. Fewer folders
// than adapters stand in for the rest by turns: each load reads, checks and packs one of them anew.
//
//   one_adapter        tokens answered a second where all requests want the same adapter
//   zipf               the same over 1,000 adapters; share: against that
//   cold               from an adapter being asked for to its being in memory: median, 99th percentile, worst, ms;
//   joined             the same until the step under way is over and the engine takes it in: median, ms

import Arithmetic
import Dispatch
import Foundation
import Inference
import Primitives
import Records

enum AdapterBenchmark {
    private static let adapters = 1000
    private static let memoryBytes = 256 << 20
    private static let concurrent = 8
    private static let tokens = 64

    static func run(_ plan: BenchmarkPlan) async throws -> [JSONMember] {
        guard let path = plan.model, !plan.adapters.isEmpty else {
            throw BenchmarkFault.setUp(
                "--model and --adapter name the model and its adapters; "
                    + "Tests/Interop/bench_llamacpp.py make FOLDER makes them")
        }
        let folder = try MappedFolder(try FolderFiles.list(path, kind: .model))
        let precision = plan.precision.flatMap(Precision.init(rawValue:)) ?? .int8
        let model = try LoadedModel(folder: folder, precision: precision)
        let traffic = AdapterTraffic(model, plan.adapters, threads: plan.threads)
        let half = Double(plan.seconds) / 2
        // Once before it counts: the files come into the page cache, the engine's memory is touched.
        _ = try traffic.run(seconds: 0, names: 1)
        let one = try traffic.run(seconds: half, names: 1)
        let many = try traffic.run(seconds: half, names: adapters)
        let waits = many.coldSeconds.sorted()
        func part(_ part: Double, of sorted: [Double]) -> Double {
            sorted.isEmpty ? 0 : sorted[min(sorted.count - 1, Int(Double(sorted.count) * part))]
        }
        return [
            JSONMember("model", .string((path as NSString).lastPathComponent)),
            JSONMember("precision", .string(precision.rawValue)), JSONMember("threads", .integer(plan.threads)),
            JSONMember("adapters", .integer(adapters)), JSONMember("adapter_folders", .integer(plan.adapters.count)),
            JSONMember("adapter_memory_bytes", .integer(memoryBytes)), JSONMember("concurrent", .integer(concurrent)),
            .figure("one_adapter_tokens_per_second", one.tokensPerSecond),
            .figure("zipf_tokens_per_second", many.tokensPerSecond),
            .figure("share", many.tokensPerSecond / one.tokensPerSecond, decimals: 3),
            JSONMember("requests", .integer(many.requests)), JSONMember("errors", .integer(one.errors + many.errors)),
            JSONMember("loads", .integer(waits.count)),
            .figure("cold_ms_median", part(0.5, of: waits) * 1000, decimals: 2),
            .figure("cold_ms_p99", part(0.99, of: waits) * 1000, decimals: 2),
            .figure("cold_ms_worst", (waits.last ?? 0) * 1000, decimals: 2),
            .figure("joined_ms_median", part(0.5, of: many.joinedSeconds.sorted()) * 1000, decimals: 2),
            JSONMember("resident_bytes_most", .integer(many.residentMost)),
        ]
    }

    /// The engine under one kind of traffic.
    private final class AdapterTraffic: Sendable {
        struct Outcome {
            var tokensPerSecond = 0.0
            var requests = 0
            var errors = 0
            var coldSeconds: [Double] = []
            var joinedSeconds: [Double] = []
            var residentMost = 0
        }

        private struct Read {
            let load: AdapterLoad
            let adapter: Result<LoadedAdapter, any Error>
            /// Since it was asked for.
            let seconds: Double
        }

        private let model: LoadedModel
        private let folders: [String]
        private let threads: Int
        private let reading = DispatchQueue(label: "openledger.bench.adapters", attributes: .concurrent)

        init(_ model: LoadedModel, _ folders: [String], threads: Int) {
            self.model = model
            self.folders = folders
            self.threads = threads
        }

        func run(seconds: Double, names: Int) throws -> Outcome {
            var limits = EngineLimits()
            limits.adapterBytesMax = AdapterBenchmark.memoryBytes
            limits.speculatingSequencesMax = 0
            let engine = Engine(
                model: model, limits: limits, pool: WorkerThreads(width: threads, weightBytes: model.weightBytes))
            var first: MappedFolder?
            let size = try read(0, &first).weightBytes
            for index in 0..<names { try engine.declare("\(index)", bytes: size) }
            var random = SeededRandom(seed: 7)
            let zipf = Zipf(names)
            let inbox = Shared<[Read]>([])
            var asked: [UInt64: Stopwatch] = [:]
            var live: Set<SequenceID> = []
            var outcome = Outcome()
            let watch = Stopwatch()
            var tokens = 0
            repeat {
                while live.count < AdapterBenchmark.concurrent,
                    seconds == 0 ? outcome.requests < AdapterBenchmark.concurrent : watch.seconds < seconds
                {
                    live.insert(try engine.submit(request(outcome.requests, adapter: zipf.draw(&random))))
                    outcome.requests += 1
                }
                let came = inbox.change { box in
                    defer { box.removeAll() }
                    return box
                }
                for read in came {
                    if let began = asked.removeValue(forKey: read.load.serial) {
                        outcome.coldSeconds.append(read.seconds)
                        outcome.joinedSeconds.append(began.seconds)
                    }
                    switch read.adapter {
                    case .success(let adapter): engine.loaded(read.load, adapter)
                    case .failure(let fault): engine.failed(read.load, reason: "\(fault)")
                    }
                }
                // Before the step, so that they are read meanwhile.
                for load in engine.takeLoads() {
                    let began = Stopwatch()
                    asked[load.serial] = began
                    let hasRoom = engine.statistics.adapterBytes + size <= AdapterBenchmark.memoryBytes
                    guard case .read(let name, _) = load.work, let index = Int(name) else { continue }
                    reading.async { [self] in
                        var folder: MappedFolder?
                        let result = Result { try read(index, &folder) }
                        inbox.change { $0.append(Read(load: load, adapter: result, seconds: began.seconds)) }
                        withExtendedLifetime(folder) {}
                        if hasRoom { LargePages.adapters.prepare(size) }
                    }
                }
                for output in engine.step() {
                    if output.token != nil { tokens += 1 }
                    guard let finish = output.finish else { continue }
                    live.remove(output.id)
                    if finish != .length { outcome.errors += 1 }
                }
                if engine.isWaitingForAdapters { Thread.sleep(forTimeInterval: 0.0005) }
                outcome.residentMost = max(outcome.residentMost, engine.statistics.adapterBytes)
            } while !engine.isIdle
            outcome.tokensPerSecond = Double(tokens) / watch.seconds
            return outcome
        }

        /// The caller lets go of the files, when nobody waits any more.
        private func read(_ index: Int, _ mapped: inout MappedFolder?) throws -> LoadedAdapter {
            let folder = try MappedFolder(try FolderFiles.list(folders[index % folders.count], kind: .adapter))
            mapped = folder
            folder.populate()
            return try CoreLoan.take {
                try LoadedAdapter(
                    folder: folder, config: model.config, precision: model.precision, memory: LargePages.adapters)
            }
        }

        private func request(_ number: Int, adapter: Int) -> GenerationRequest {
            let vocabulary = max(1, model.config.vocabulary)
            let prompt = (0..<AdapterBenchmark.tokens).map { Int32((300 + 37 * $0 + 1009 * number) % vocabulary) }
            return GenerationRequest(
                prompt: prompt, adapter: "\(adapter)", tokensMax: AdapterBenchmark.tokens, ignoresEnd: true)
        }
    }

    /// Rank r, from 0, with probability proportional to 1 / (r + 1).
    private struct Zipf {
        private let sums: [Double]

        init(_ count: Int) {
            var sum = 0.0
            sums = (0..<count).map { rank in
                sum += 1 / Double(rank + 1)
                return sum
            }
        }

        func draw(_ random: inout SeededRandom) -> Int {
            let point = Double.random(in: 0..<(sums.last ?? 1), using: &random)
            return sums.firstIndex { $0 > point } ?? 0
        }
    }
}
