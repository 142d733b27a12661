// The host of a machine behind AXI4-Lite; for simulation only. It resets the machine and then follows
// FOLDER/host.txt, a step a line, numbers in hexadecimal:
//
//     W address value     write a register
//     R address 0         read one, and add "address value" to FOLDER/registers.txt
//     I cycles 0          wait for an interrupt, at most so many cycles
//     U cycle 0           wait until a cycle of the run
//     X 0 0, X 1 0        reset the machine; with its memories
//     F number value      say what the bus fails at: `bad_memory`, `bad_from`, `bad_to`, `bad_read`
//                         and `bad_write`, numbered in this order
//
// A reset adds "reset n" to FOLDER/registers.txt, n being the bursts that memories owe when it comes.
//
// At the end it stops the simulation. FOLDER is +folder. Registers that do not answer stop it too.
module hwroute_host (
    input wire clk,
    output reg rst = 1'b1,
    output reg memory_rst = 1'b1,
    input wire irq,
    input wire [63:0] cycle,
    input wire [15:0] owed,
    output reg [7:0] bad_memory,
    output reg [63:0] bad_from,
    output reg [63:0] bad_to,
    output reg [1:0] bad_read,
    output reg [1:0] bad_write,
    output reg [11:0] aw_payload,
    output reg aw_valid,
    input wire aw_ready,
    output reg [35:0] w_payload,
    output reg w_valid,
    input wire w_ready,
    input wire b_valid,
    output wire b_ready,
    output reg [11:0] ar_payload,
    output reg ar_valid,
    input wire ar_ready,
    input wire [33:0] r_payload,
    input wire r_valid,
    output wire r_ready
);
    localparam PATIENCE = 1000;
    localparam RESET = 64;

    string folder, step;
    integer script, answers;
    reg [63:0] place, value, passed;

    assign b_ready = 1'b1;
    assign r_ready = 1'b1;

    // Outputs are registers of plain clocked blocks: what the steps, which wait for the clock, wrote
    // themselves would be evaluated twice in each cycle, with all the logic behind it.
    reg asked_reset, asked_memory_reset, asked_write, asked_read;
    reg [11:0] write_address, read_address;
    reg [31:0] write_data;
    reg wrote, was_read;

    always @(posedge clk) begin
        rst <= asked_reset;
        memory_rst <= asked_memory_reset;
        aw_payload <= write_address;
        w_payload <= {4'hf, write_data};
        ar_payload <= read_address;
        if (asked_reset) begin
            aw_valid <= 1'b0; w_valid <= 1'b0; ar_valid <= 1'b0; wrote <= 1'b0; was_read <= 1'b0;
        end else begin
            aw_valid <= aw_valid ? !aw_ready : asked_write && !wrote;
            w_valid <= w_valid ? !w_ready : asked_write && !wrote;
            wrote <= asked_write;
            ar_valid <= ar_valid ? !ar_ready : asked_read && !was_read;
            was_read <= asked_read;
        end
    end

    // What is asked for changes between two edges, so that each edge sees it whole.
    task automatic tick(inout integer left);
        @(posedge clk);
        left--;
        if (left == 0) $fatal(1, "the registers do not answer");
    endtask

    task automatic put(input [11:0] address, input [31:0] data);
        integer left = PATIENCE;
        @(negedge clk);
        write_address = address; write_data = data; asked_write = 1'b1;
        do tick(left); while (!b_valid);
        @(negedge clk);
        asked_write = 1'b0;
        @(negedge clk);
    endtask

    task automatic get(input [11:0] address, output [31:0] data);
        integer left = PATIENCE;
        @(negedge clk);
        read_address = address; asked_read = 1'b1;
        do tick(left); while (!r_valid);
        data = r_payload[31:0];
        @(negedge clk);
        asked_read = 1'b0;
        @(negedge clk);
    endtask

    // The memories' reset lies within the machine's.
    task automatic reset(input memories);
        asked_reset = 1'b1; asked_memory_reset = memories;
        repeat (RESET) @(negedge clk);
        asked_memory_reset = 1'b0;
        repeat (RESET) @(negedge clk);
        asked_reset = 1'b0;
        repeat (RESET) @(negedge clk);
    endtask

    task automatic fail(input [63:0] number, input [63:0] setting);
        case (number)
            0: bad_memory = setting[7:0];
            1: bad_from = setting;
            2: bad_to = setting;
            3: bad_read = setting[1:0];
            4: bad_write = setting[1:0];
            default: $fatal(1, "no setting of a failing bus: %0d", number);
        endcase
    endtask

    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        script = $fopen({folder, "/host.txt"}, "r");
        if (script == 0) $fatal(1, "cannot open the steps of the host");
        answers = $fopen({folder, "/registers.txt"}, "w");
        asked_write = 1'b0; asked_read = 1'b0;
        bad_memory = 0; bad_from = 0; bad_to = 0; bad_read = 0; bad_write = 0;
        reset(1'b1);
        while ($fscanf(script, "%s %h %h\n", step, place, value) == 3) begin
            case (step)
                "W": put(place[11:0], value[31:0]);
                "R": begin
                    get(place[11:0], value[31:0]);
                    $fdisplay(answers, "%0h %0h", place, value[31:0]);
                end
                "I": begin
                    passed = 0;
                    while (!irq && passed != place) begin
                        @(posedge clk);
                        passed++;
                    end
                end
                "U": while (cycle < place) @(posedge clk);
                "X": begin
                    @(negedge clk);
                    $fdisplay(answers, "reset %0h", owed);
                    reset(place[0]);
                end
                "F": fail(place, value);
                default: $fatal(1, "no step of a host: %s", step);
            endcase
        end
        $fclose(answers);
        $finish;
    end
endmodule
