import ArgumentParser
import Primitives
import Simulation

struct SimulateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "simulate", abstract: "Run many peers in one process under one seed, and check what must hold.",
        discussion: """
            EXAMPLE
              openledger simulate --seed 42 --peers 16 --steps 2000 --faults loss,partition,crash,byzantine

            The same seed gives the same digest. Exit code 1 when a property is broken.
            """)
    static let peersMax = SimulationOptions.peersMax
    static let stepsMax = 10_000_000

    @OptionGroup var global: GlobalOptions
    @Option var seed: UInt64
    @Option var peers = 16
    @Option var steps = 2_000
    @Option(help: "Comma-separated: loss, duplicate, delay, partition, crash, byzantine, vanish; none; default all.")
    var faults = "all"

    static let faultNames = SimulatedFault.allCases.map(\.rawValue)

    var chosen: [String] {
        switch faults {
        case "all": Self.faultNames
        case "none", "": []
        default: faults.split(separator: ",").map(String.init)
        }
    }

    func validate() throws {
        guard (1...Self.peersMax).contains(peers) else {
            throw ValidationError("--peers is 1 to \(Self.peersMax); it is \(peers)")
        }
        guard (1...Self.stepsMax).contains(steps) else {
            throw ValidationError("--steps is 1 to \(Self.stepsMax); it is \(steps)")
        }
        for name in chosen where !Self.faultNames.contains(name) {
            throw ValidationError("--faults knows \(Self.faultNames.joined(separator: ", ")); \(name) is none of them")
        }
    }

    func run() async throws {
        let value = try await peerHost.simulate(SimulationPlan(seed: seed, peers: peers, steps: steps, faults: chosen))
        global.output.result(value) {
            (value.memberList ?? []).map { "\($0.key): \(value.shown($0.key))" }.joined(separator: "\n")
        }
        if value["verdict"]?.text != "hold" { throw Ending(status: .failed) }
    }
}

struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure one thing on this machine.",
        discussion:
            "EXAMPLE\n  openledger bench list\n  openledger bench storage --seconds 5\n  openledger bench decode --model DIR --threads 2"
    )

    @OptionGroup var global: GlobalOptions
    @Argument(help: "What to measure, or list.") var name: String
    @Option(help: "For about how long, 1 to 86400.") var seconds = 5
    @Option(help: "A model folder or a GGUF file instead of the starter model.") var model: String?
    @Option(help: "A PEFT folder; give it again for more.") var adapter: [String] = []
    @Option(help: "Rows to read, JSONL.") var rows: String?
    @Option(help: "Threads that compute, 1 to 64.") var threads = 1
    @Option(help: "f32, bf16, int8 or int4; all that make sense otherwise.") var precision: String?
    @Option(help: "Of whatever is drawn.") var seed = 1

    func validate() throws {
        guard (1...86_400).contains(seconds) else { throw ValidationError("--seconds is 1 to 86400; it is \(seconds)") }
        guard seed >= 0 else { throw ValidationError("--seed is not negative; it is \(seed)") }
        guard (1...64).contains(threads) else { throw ValidationError("--threads is 1 to 64; it is \(threads)") }
        if let precision, !["f32", "bf16", "int8", "int4"].contains(precision) {
            throw ValidationError("--precision is f32, bf16, int8 or int4; it is \(precision)")
        }
        guard name == "list" || peerHost.benchmarks.contains(name) else {
            throw ValidationError(
                "there is no benchmark \(name); there are: \(peerHost.benchmarks.joined(separator: ", "))")
        }
    }

    func run() async throws {
        let output = global.output
        var plan = BenchPlan(seconds: seconds)
        plan.model = model
        plan.adapters = adapter
        plan.rows = rows
        plan.threads = threads
        plan.precision = precision
        plan.seed = seed
        if name == "list" {
            let names = peerHost.benchmarks
            return output.result(.object(["benchmarks": .strings(names)])) { names.joined(separator: "\n") }
        }
        let value = try await peerHost.bench(name, plan)
        output.result(value) {
            (value.memberList ?? []).map { "\($0.key): \(value.shown($0.key))" }.joined(separator: "\n")
        }
    }
}
